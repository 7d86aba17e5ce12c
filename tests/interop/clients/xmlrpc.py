"""Calls by XML-RPC, over HTTP and over SCGI."""

import socket
import xmlrpc.client


def call_http(port, method, *arguments):
    with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/rpc") as server:
        return getattr(server, method)(*map(wrapped, arguments))


def call_scgi(path, method, *arguments):
    """To the server behind a socket in the file system."""
    body = xmlrpc.client.dumps(tuple(map(wrapped, arguments)), method).encode()
    head = b"CONTENT_LENGTH\0%d\0SCGI\x001\0" % len(body)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(path)
        connection.sendall(b"%d:%s,%s" % (len(head), head, body))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    _, _, content = answer.partition(b"\r\n\r\n")
    return xmlrpc.client.loads(content)[0][0]


def wrapped(argument):
    return xmlrpc.client.Binary(argument) if isinstance(argument, bytes) else argument
