"""Sends Web Push messages with pywebpush, as an application server would.

Reads a JSON array of jobs from standard input:
  { subscription, payload?, ttl, encoding, topic?, vapid?: { publicKey, privateKey } }
and writes an array of responses, { status, headers, body }, in the same order.
"""

import json
import sys

from pywebpush import WebPushException, webpush


def send(job):
    """Sends one push and returns the response, also if it is an error."""
    signing = {}
    if job.get("vapid"):
        signing["vapid_private_key"] = job["vapid"]["privateKey"]
        signing["vapid_claims"] = {"sub": "mailto:test@example.com"}
    try:
        answer = webpush(
            job["subscription"],
            job.get("payload"),
            content_encoding=job["encoding"],
            ttl=job["ttl"],
            headers={"Topic": job["topic"]} if job.get("topic") else None,
            timeout=20,
            **signing,
        )
    except WebPushException as refusal:
        if refusal.response is None:
            raise
        answer = refusal.response
    # requests keeps the server's capitalisation; callers expect lower case.
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return {"status": answer.status_code, "headers": headers, "body": answer.text}


json.dump([send(job) for job in json.load(sys.stdin)], sys.stdout)
