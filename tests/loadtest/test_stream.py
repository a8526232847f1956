"""The stream of ordinary checks, against a server of the test's own."""

import socket
import subprocess
import sys
import threading

import orjson

from loadtest.stage import HOME, make_environment

REQUEST = b"POST /v1/check HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def test_checks_follow_each_other_until_it_is_ended() -> None:
    """It asks again and again over one connection, takes answers in pieces, and tells what each took."""
    served = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(1_024) == REQUEST:
                connection.sendall(ANSWER)
                connection.sendall(b"{  }")
                served.append(1)
                if len(served) == 5:
                    stream.terminate()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "loadtest.stream", str(port)]
        stream = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HOME, env=make_environment({})
        )
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        out, _ = stream.communicate(REQUEST, timeout=60)
        thread.join(60)
    took = orjson.loads(out)
    assert 5 <= len(took) <= len(served)
    assert all(ms >= 0 for _, ms in took)
    assert [due for due, _ in took] == sorted(due for due, _ in took)
