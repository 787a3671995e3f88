"""The server's half of a WebSocket (RFC 6455), as much of it as Socket Mode needs: text, ping and close."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from http.server import BaseHTTPRequestHandler

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class WebSocket:
    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler, self._lock = handler, threading.Lock()
        key = str(handler.headers["Sec-WebSocket-Key"]).encode()
        handler.send_response(101)
        handler.send_header("Upgrade", "websocket")
        handler.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
        handler.send_header("Sec-WebSocket-Accept", accept.decode())
        handler.end_headers()

    def send(self, data: bytes, opcode: int = TEXT) -> None:
        size = struct.pack("!B", len(data)) if len(data) < 126 else struct.pack("!BH", 126, len(data))
        with self._lock:
            self._handler.wfile.write(bytes([0x80 | opcode]) + size + data)
            self._handler.wfile.flush()

    def receive(self) -> bytes | None:
        """The next text; None when the other side is gone."""
        while True:
            try:
                opcode, data = self._frame()
            except (OSError, ValueError, struct.error, IndexError):
                return None
            if opcode == PING:
                self.send(data, PONG)
            elif opcode == CLOSE:
                return None
            elif opcode == TEXT:
                return data

    def _frame(self) -> tuple[int, bytes]:
        first, second = self._handler.rfile.read(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._handler.rfile.read(2))
        mask = self._handler.rfile.read(4)  # a client masks whatever it sends
        data = self._handler.rfile.read(size)
        return first & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(data))
