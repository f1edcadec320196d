"""What a cluster does otherwise than one service: the tests of that, and how, as docs say it."""

DIFFERENCES = {
    "test_answer_log.py": {
        "test_the_log_is_a_file_of_the_services_user": "the log of answers lies in the store",
    },
    "test_bounds.py": {
        "test_an_answer_that_is_cut_off_is_an_error_that_says_so": (
            "an answer that a worker cuts off goes on with another"
        ),
        "test_the_page_of_the_same_process_takes_no_requests_from_others": "there is no page",
    },
    "test_firings.py": {
        "test_firings_go_with_what_is_forgotten": "`service.max_streams` is that of each worker",
        "test_the_command_line_forgets_firings_and_events": "blocks lie in Redis, and in no folder",
    },
    "test_stream_life.py": {
        "test_it_is_told_how_much_time_lies_in_each_tier": "blocks lie in Redis, and in no folder",
        "test_of_configured_streams_the_configuration_alone_tells": (
            "blocks lie in Redis, and in no folder"
        ),
        "test_an_id_is_used_once_and_streams_are_so_many_at_most": (
            "`service.max_streams` is that of each worker"
        ),
    },
}
"""By file and test; at most ten."""
