"""Uses `http.client` or a session of `requests` (the argument selects); see README.md."""

import base64
import http.client
import ssl
import sys
from urllib.parse import urlsplit

HEADERS = {"TTL": "0", "Content-Encoding": "aes128gcm"}

lines = sys.stdin.read().split()
count, authority, body, good, refused = int(lines[0]), lines[1], base64.b64decode(lines[2]), lines[3], lines[4:]


def http_client():
    """One connection. If it breaks, its push is lost, and the next push reconnects."""
    url = urlsplit(good)
    if url.scheme == "https":
        context = ssl.create_default_context(cafile=authority)
        connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)

    def push(target):
        try:
            connection.request("POST", urlsplit(target).path, body, HEADERS)
            response = connection.getresponse()
            response.read()
            return response.status
        except Exception:
            connection.close()
            raise

    return push


def requests_session():
    import requests

    session = requests.Session()
    session.trust_env = False
    session.verify = authority if authority != "-" else True
    return lambda target: session.post(target, data=body, headers=HEADERS, timeout=30).status_code


push = {"http.client": http_client, "requests": requests_session}[sys.argv[1]]()
for nth in range(count):
    target = refused[nth // 3 % len(refused)] if nth % 3 == 2 else good
    try:
        print(push(target))
    except Exception as error:
        print(repr(error).replace("\n", " "))
