import json

from streamgmm.demo.scrape import Metrics
from streamgmm.telemetry.starting import Starting


def test_a_start_lives_and_is_not_ready_and_tells_what_it_compiles():
    starting = Starting()
    routes = starting.routes()
    assert routes["/livez"]("").status == 200
    starting.compiling("codecs.csv_kernels", 3, 28)
    ready = routes["/readyz"]("")
    assert ready.status == 503
    assert b"3 of 28, codecs.csv_kernels" in ready.body
    status = json.loads(routes["/status"]("").body)
    assert status["health"] == {"live": True, "ready": False, "reasons": [ready.body.decode().strip()]}
    assert Metrics(routes["/metrics"]("").body.decode()).total("ready") == 0.0
