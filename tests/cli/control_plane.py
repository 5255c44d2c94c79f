"""STS and SageMaker's control plane, as far as `doctor` asks them, on this machine."""

import contextlib
import json
import re
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ARN = "arn:aws:sts::123456789012:assumed-role/caller/session"

_IDENTITY = f"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>{ARN}</Arn><UserId>AROAEXAMPLE:session</UserId>
<Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""

_ERROR = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error></ErrorResponse>"""


class ControlPlane:
    """What AWS knows, and what it says.

    `endpoints` has the status by region and name. `sts` and `sagemaker` are the status, code and
    message of a refusal, or None. `ahead` is by how many seconds its clock is ahead. Where it is
    `deaf`, regions but the first of `endpoints` do not answer before `heard` is set.
    """

    def __init__(self):
        self.endpoints = {("us-east-1", "local"): "InService"}
        self.reason = None
        self.sts = None
        self.sagemaker = None
        self.ahead = 0.0
        self.asked = []
        self.deaf = False
        self.heard = threading.Event()
        self.uri = ""

    def answer(self, headers, body):
        """The status, type and body of the answer to one request."""
        target = headers.get("X-Amz-Target", "")
        signed = re.search(r"Credential=[^/]*/\d+/([^/]+)/", headers.get("Authorization", ""))
        region = signed[1] if signed else None
        self.asked.append((target or "STS", region))
        if self.deaf and region != next(iter(self.endpoints))[0]:
            self.heard.wait(20)
        if target.endswith(".DescribeEndpoint"):
            return self._describe(region, json.loads(body)["EndpointName"])
        if region is None:
            return 403, "text/xml", _ERROR.format("MissingAuthenticationToken", "Not signed.")
        if self.sts is not None:
            status, code, message = self.sts
            return status, "text/xml", _ERROR.format(code, message)
        return 200, "text/xml", _IDENTITY

    def _describe(self, region, name):
        def refuse(status, code, message):
            body = json.dumps({"__type": code, "message": message})
            return status, "application/x-amz-json-1.1", body

        if self.sagemaker is not None:
            return refuse(*self.sagemaker)
        status = self.endpoints.get((region, name))
        if status is None:
            return refuse(400, "ValidationException", f'Could not find endpoint "{name}".')
        found = {
            "EndpointName": name,
            "EndpointArn": f"arn:aws:sagemaker:{region}:123456789012:endpoint/{name}",
            "EndpointStatus": status,
            "ProductionVariants": [{"VariantName": "AllTraffic", "CurrentInstanceCount": 2}],
        }
        if self.reason is not None:
            found["FailureReason"] = self.reason
        return 200, "application/x-amz-json-1.1", json.dumps(found)


@contextlib.contextmanager
def control_plane():
    """A control plane that answers over HTTP."""
    plane = ControlPlane()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, kind, answer = plane.answer(self.headers, body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            # A client that was not answered in time has gone.
            with contextlib.suppress(OSError):
                self.end_headers()
                self.wfile.write(answer.encode())

        def date_time_string(self, timestamp=None):
            return formatdate(time.time() + plane.ahead, usegmt=True)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        plane.uri = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield plane
        finally:
            server.shutdown()
            thread.join()
