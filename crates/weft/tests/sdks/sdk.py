"""The SDK of CloudEvents for Python, unchanged.

`publish URL` publishes events in each mode and prints what each is, as JSON;
`read` takes messages from its input (`[{headers, body}]`, bodies in base64) and prints
what the SDK reads in them.
"""

import base64
import json
import sys
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent

TIME = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)
DATA = [
    ("application/json", {"delay": 12, "z": [1.5, None, "\u00fc"], "a": {}}),
    ("text/plain", "late \u20ac"),
    ("application/octet-stream", b"\x00\xff\x7f"),
]


def normal(event):
    names = ["id", "source", "type", "subject", "datacontenttype", "comexampleother", "partitionkey"]
    data = event.get_data()
    if isinstance(data, bytes):
        data = {"base64": base64.b64encode(data).decode()}
    attributes = {name: event.get_attributes().get(name) for name in names}
    return {**attributes, "time": event.get_attributes()["time"].isoformat(), "data": data}


def post(url, message):
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    request = urllib.request.Request(url, data=body, headers=dict(message.headers), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200, answer.status
        return json.load(answer)


def publish(url):
    sent = []
    for number, (media, data) in enumerate(DATA):
        for mode in (http.to_structured_event, http.to_binary_event):
            attributes = {
                "id": f"{mode.__name__}-{number}",
                "source": "/sdk/python?a=b#c",
                "type": "com.example.departed",
                "subject": "Z\u00fcrich \"100 %\"",
                "time": TIME,
                "datacontenttype": media,
                "comexampleother": "value",
                "partitionkey": "B6725",
            }
            event = CloudEvent(attributes, data)
            post(url, mode(event))
            sent.append(normal(event))
    return sent


def read(messages):
    found = []
    for message in messages:
        body = base64.b64decode(message["body"])
        found.append(normal(http.from_http_event(http.HTTPMessage(headers=message["headers"], body=body))))
    return found


result = publish(sys.argv[2]) if sys.argv[1] == "publish" else read(json.load(sys.stdin))
json.dump(result, sys.stdout)
