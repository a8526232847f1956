"""nginx as the floor: one worker that answers every request with the same bytes and reads nothing of the question."""

from pathlib import Path

from loadtest.process import Server, await_ready, find_tool, list_children

# What to install where wrk or nginx is missing: the bench wants both.
DEBIAN = "wrk nginx-light"
# `return` wants the text in single quotes; JSON has none of its own, and its dollars would be variables.
CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  tcp_nodelay on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port};
    location = /v1/check {{ return 200 '{body}'; }}
  }}
}}
"""


def render_config(folder: Path, port: int, body: bytes) -> str:
    """Returns nginx's configuration.

    Raises:
        ValueError: the body cannot stand in nginx's single quotes.
    """
    text = body.decode()
    if any(letter in text for letter in "'\\$"):
        raise ValueError(f"expected a body without quote, backslash and dollar, got {text[:80]!r}")
    return CONFIG.format(folder=folder, port=port, body=text)


def start_nginx(folder: Path, port: int, body: bytes) -> Server:
    """Returns nginx, ready to answer.

    Args:
        folder: takes its configuration and its logs; made where it does not exist.
        port: of the loopback interface.
        body: what it answers.

    Raises:
        ToolError: it is not installed.
        ServerError: it ended, or was not ready in time.
    """
    binary = find_tool(DEBIAN, "nginx")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(render_config(folder, port, body))
    server = Server("nginx", [binary, "-p", str(folder), "-c", str(config)], folder / "output.log")
    await_ready(lambda: server.is_running() and bool(list_children(server.pid)), server)
    return server


def find_worker(server: Server) -> int:
    """Returns the process id of nginx's one worker."""
    return list_children(server.pid)[0]
