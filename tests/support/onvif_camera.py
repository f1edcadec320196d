"""An ONVIF camera on loopback: answers WS-Discovery over UDP and SOAP over HTTP, to a user whose
digest is right. What it says can be replaced, to be what no camera should say.
"""

import base64
import hashlib
import re
import socket
import threading
from contextlib import ExitStack
from datetime import UTC, datetime

from loopback_http import loopback_http

GROUP, PORT = "239.255.255.250", 3702
USER, PASSWORD = "viewer", "correct-horse"
_ENVELOPE = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>{}</s:Body></s:Envelope>'
)
_REFUSED = (
    "<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code>"
    "<s:Reason><s:Text>Sender not Authorized</s:Text></s:Reason></s:Fault>"
)


class OnvifCamera:
    """Use as a context manager. `answers`: the body of each operation; `xaddrs`: what it says of
    its own address; `match`: all of what it answers to a probe.
    """

    def __init__(self, name="Front%20door", group=False):
        self._name, self._in_group = name, group
        self._open = ExitStack()
        self.answers, self.requests, self.probes = {}, [], []
        self.xaddrs = self.match = None
        self.headers = {"Content-Type": "application/soap+xml; charset=utf-8"}
        self.packs = bytes  # makes of an answer what is sent

    def __enter__(self):
        self._http = self._open.enter_context(loopback_http(self._soap))
        self.url = f"{self._http.url}/onvif/device_service"
        self._udp = self._open.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        if self._in_group:
            self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._udp.bind((GROUP, PORT))
            joined = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
            self._udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        else:
            self._udp.bind(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._udp.getsockname()[1]}"
        media = f"{self._http.url}/onvif/media"
        self.answers = {
            "GetServices": f"""<GetServicesResponse>
                {_service("ver10/device", self.url)}{_service("ver10/media", media)}
                </GetServicesResponse>""",
            "GetProfiles": f"""<GetProfilesResponse>{_profile("a", "main", 1920, "H264")}
                {_profile("b", "sub", 640, "H265")}</GetProfilesResponse>""",
            "GetStreamUri": """<MediaUri><Uri>
                rtsp://10.9.8.7:554/live?channel=1&amp;token={token}</Uri></MediaUri>""",
            **self.answers,
        }
        self._thread = threading.Thread(target=self._answer_probes)
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            end.sendto(b"end", self._udp.getsockname())
        self._thread.join()
        self._open.close()

    def _answer_probes(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as answering:
            answering.bind(("127.0.0.1", 0))
            while (probe := self._udp.recvfrom(1 << 16))[0] != b"end":
                self.probes.append(probe[0].decode())
                if "NetworkVideoTransmitter" in self.probes[-1]:
                    said = (self.match or self._match()).encode()
                    (answering if self._in_group else self._udp).sendto(said, probe[1])

    def _match(self):
        asked = re.search(r"MessageID>(.*?)<", self.probes[-1])[1]
        return f"""<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"
            xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"
            xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery">
            <e:Header><w:RelatesTo>{asked}</w:RelatesTo></e:Header>
            <e:Body><d:ProbeMatches><d:ProbeMatch>
            <w:EndpointReference><w:Address>urn:uuid:{self._name}</w:Address></w:EndpointReference>
            <d:Types>dn:NetworkVideoTransmitter</d:Types>
            <d:Scopes>onvif://www.onvif.org/name/{self._name} onvif://www.onvif.org/hardware/M1</d:Scopes>
            <d:XAddrs>{self.xaddrs or self.url}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>
            </d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"""

    def _soap(self, request):
        body = request.body.decode()
        operation = re.search(r"Body><\w+:(\w+)", body)[1]
        self.requests.append((operation, body))
        if not has_right_digest(body):
            return 400, self.headers, _ENVELOPE.format(_REFUSED).encode()
        token = re.search(r"ProfileToken>(\w*)<", body)
        said = self.answers[operation].replace("{token}", token[1] if token else "")
        whole = said if said.startswith("<!DOCTYPE") else _ENVELOPE.format(said)
        return 200, self.headers, self.packs(whole.encode())


def has_right_digest(body):
    """As Web Services Security UsernameToken Profile 1.0 has it, made within five minutes."""
    said = dict(re.findall(r"<\w+:(Username|Password|Nonce|Created)\b[^>]*>([^<]*)<", body))
    if said.get("Username") != USER or "#PasswordDigest" not in body:
        return False
    made_at = datetime.strptime(said["Created"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    hashed = base64.b64decode(said["Nonce"]) + said["Created"].encode() + PASSWORD.encode()
    right = base64.b64encode(hashlib.sha1(hashed).digest()).decode()
    return said["Password"] == right and abs((datetime.now(UTC) - made_at).total_seconds()) < 300


def _service(namespace, xaddr):
    return f"<Service><Namespace>http://www.onvif.org/{namespace}/wsdl</Namespace><XAddr>{xaddr}</XAddr></Service>"


def _profile(token, name, width, encoding):
    return f"""<Profiles token="{token}"><Name>{name}</Name><VideoEncoderConfiguration>
        <Encoding>{encoding}</Encoding><Resolution><Width>{width}</Width><Height>360</Height></Resolution>
        </VideoEncoderConfiguration></Profiles>"""
