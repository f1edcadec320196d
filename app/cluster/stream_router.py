"""StreamRouter: chooses the replica for each call to a worker; see Membership."""

from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from app.cluster import membership

_PROBE_S = 1.0
"""Serve's own 0.1 s skips a worker that is busy."""


class StreamRouter(RequestRouter):
    """Reports the workers to Membership, and sends each call to one that it ranks."""

    max_num_routing_tasks = 64
    """So many that a worker that hangs holds up only its own callers."""

    def initialize_state(self, **kwargs: Any) -> None:
        self.queue_len_response_deadline_s = _PROBE_S

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        self._report()

    def on_replica_actor_died(self, replica_id: Any) -> None:
        super().on_replica_actor_died(replica_id)
        self._report()

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True
        ranks = membership.MEMBERS.ranked(pending_request.kwargs["to"])
        by_id = {one.replica_id.unique_id: one for one in candidate_replicas}
        return [[by_id[worker]] for worker in ranks if worker in by_id]

    def _report(self) -> None:
        reported = {
            one.replica_id.unique_id: (one.routing_stats or {}).get("streams", ())
            for one in self.curr_replicas.values()
        }
        membership.MEMBERS.update(reported)
