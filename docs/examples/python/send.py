# pip install pywebpush
import json
import sys

from pywebpush import WebPushException, webpush

with open("subscription.json") as file:
    subscription = json.load(file)
with open("vapid.json") as file:
    private_key = json.load(file)["privateKey"]

try:
    answer = webpush(
        subscription,
        "hello from Python",
        vapid_private_key=private_key,
        vapid_claims={"sub": "mailto:push@example.org"},
        ttl=3600,
        headers={"Urgency": "normal"},
        timeout=20,
    )
    print(answer.status_code, answer.headers["location"])
except WebPushException as refusal:
    # 404 and 410: delete the subscription. 429 and 503: try again after Retry-After seconds.
    sys.exit(str(refusal))
