"""Confluent's own client against a hub: register, evolve, refuse the incompatible.

Usage: confluent.py URL [SETTING=VALUE...], settings as its client has them. Says each step on standard error, and at the
end, as JSON on standard output, what its serialisers wrote, for the test to look
at with the hub's own decoder. Ends with an error at the first thing that is not as
with Confluent's registry. Only what the client's users see is used, unchanged.
"""

import json
import sys

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

url, *settings = sys.argv[1:]
conf = {"url": url, **dict(setting.split("=", 1) for setting in settings)}
client = SchemaRegistryClient(conf)
wrote = {}


def step(text):
    print(text, file=sys.stderr)


def refused(status, code, what):
    """`what` is refused with this status and code; gives the words."""
    try:
        what()
    except SchemaRegistryError as error:
        found = (error.http_status_code, error.error_code)
        assert found == (status, code), f"{found} and not {(status, code)}: {error}"
        return str(error)
    raise AssertionError(f"it is not refused with {status}")


def context(topic):
    return SerializationContext(topic, MessageField.VALUE)


def fresh():
    """A client that has nothing remembered."""
    return SchemaRegistryClient(conf)


def avro():
    step("avro: the serialiser registers, and what it wrote is read back")
    order = {
        "type": "record",
        "name": "Order",
        "namespace": "shop",
        "fields": [{"name": "id", "type": "long"}, {"name": "item", "type": "string"}],
    }
    subject = "orders-value"
    serialise = AvroSerializer(client, json.dumps(order))
    payload = serialise({"id": 7, "item": "loom"}, context("orders"))
    latest = fresh().get_latest_version(subject)
    assert (latest.version, client.get_versions(subject)) == (1, [1])
    read = AvroDeserializer(fresh())(payload, context("orders"))
    assert read == {"id": 7, "item": "loom"}, read
    wrote["avro"] = {"id": latest.schema_id, "bytes": payload.hex()}

    step("avro: a field with a default may come, one without may not")
    more = dict(order, fields=order["fields"] + [{"name": "note", "type": "string", "default": ""}])
    assert client.test_compatibility(subject, Schema(json.dumps(more), "AVRO"))
    newer = AvroSerializer(client, json.dumps(more))({"id": 8, "item": "yarn", "note": "red"}, context("orders"))
    assert client.get_versions(subject) == [1, 2]
    # A reader of the new one reads what was written by the old one.
    read = AvroDeserializer(fresh(), json.dumps(more))(payload, context("orders"))
    assert read == {"id": 7, "item": "loom", "note": ""}, read
    wrote["avro_newer"] = {"id": fresh().get_latest_version(subject).schema_id, "bytes": newer.hex()}
    strict = dict(order, fields=more["fields"] + [{"name": "must", "type": "string"}])
    assert not client.test_compatibility(subject, Schema(json.dumps(strict), "AVRO"))
    words = refused(409, 409, lambda: client.register_schema(subject, Schema(json.dumps(strict), "AVRO")))
    assert "must" in words, words
    refused(409, 409, lambda: AvroSerializer(client, json.dumps(strict))({"id": 1, "item": "", "must": ""}, context("orders")))

    step("avro: one schema refers to another")
    address = {"type": "record", "name": "Address", "namespace": "shop", "fields": [{"name": "city", "type": "string"}]}
    client.register_schema("shop.Address", Schema(json.dumps(address), "AVRO"))
    person = {"type": "record", "name": "Person", "namespace": "shop", "fields": [{"name": "at", "type": "shop.Address"}]}
    refers = Schema(json.dumps(person), "AVRO", [SchemaReference("shop.Address", "shop.Address", 1)])
    serialise = AvroSerializer(client, refers)
    payload = serialise({"at": {"city": "Bergen"}}, context("people"))
    assert AvroDeserializer(fresh())(payload, context("people")) == {"at": {"city": "Bergen"}}
    number = fresh().get_latest_version("people-value").schema_id
    assert fresh().get_schema(number).references[0].subject == "shop.Address"
    assert client.get_referenced_by("shop.Address", 1) == [number]
    refused(422, 42206, lambda: client.delete_version("shop.Address", 1))
    wrote["avro_reference"] = {"id": number, "bytes": payload.hex()}


def json_schema():
    step("json: register, evolve, refuse")
    subject = "clicks-value"
    click = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Click",
        "type": "object",
        "properties": {"page": {"type": "string"}, "ms": {"type": "integer"}},
        "required": ["page"],
        "additionalProperties": False,
    }
    payload = JSONSerializer(json.dumps(click), client)({"page": "/", "ms": 3}, context("clicks"))
    read = JSONDeserializer(json.dumps(click), schema_registry_client=fresh())(payload, context("clicks"))
    assert read == {"page": "/", "ms": 3}, read
    registered = fresh().get_latest_version(subject)
    assert registered.schema.schema_type == "JSON"
    wrote["json"] = {"id": registered.schema_id, "bytes": payload.hex()}
    more = dict(click, properties=dict(click["properties"], user={"type": "string"}))
    JSONSerializer(json.dumps(more), client)({"page": "/", "user": "anna"}, context("clicks"))
    assert client.get_versions(subject) == [1, 2]
    strict = dict(more, required=["page", "user"])
    refused(409, 409, lambda: client.register_schema(subject, Schema(json.dumps(strict), "JSON")))

    step("json: one schema refers to another")
    client.register_schema("money", Schema(json.dumps({"type": "object", "properties": {"cents": {"type": "integer"}}}), "JSON"))
    bill = {"title": "Bill", "type": "object", "properties": {"total": {"$ref": "money.json"}}}
    refers = Schema(json.dumps(bill), "JSON", [SchemaReference("money.json", "money", 1)])
    payload = JSONSerializer(refers, client)({"total": {"cents": 5}}, context("bills"))
    wrote["json_reference"] = {"id": fresh().get_latest_version("bills-value").schema_id, "bytes": payload.hex()}


def described(name, fields, number_of="Ping"):
    """A file with the messages Pong, of one field, and Ping, of these."""
    file = descriptor_pb2.FileDescriptorProto(name=name, package="net", syntax="proto3")
    pong = file.message_type.add(name="Pong")
    pong.field.add(name="at", number=1, type=3, label=1)
    ping = file.message_type.add(name=number_of)
    for number, (field, kind) in enumerate(fields, 1):
        ping.field.add(name=field, number=number, type=kind, label=1)
    inner = ping.nested_type.add(name="Inner")
    inner.field.add(name="deep", number=1, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = lambda full: message_factory.GetMessageClass(pool.FindMessageTypeByName(full))
    return find("net.Pong"), find("net.Ping"), find("net.Ping.Inner")


def protobuf():
    step("protobuf: register, evolve, refuse; each message by its place in the file")
    plain = {"use.deprecated.format": False}
    pong, ping, inner = described("ping.proto", [("host", 9), ("ttl", 5)])
    for name, kind, value in [
        ("pong", pong, pong(at=5)),
        ("ping", ping, ping(host="a", ttl=9)),
        ("inner", inner, inner(deep="x")),
    ]:
        topic = f"net-{name}"
        payload = ProtobufSerializer(kind, client, plain)(value, context(topic))
        read = ProtobufDeserializer(kind, plain, fresh())(payload, context(topic))
        assert read == value, read
        wrote[f"protobuf_{name}"] = {"id": fresh().get_latest_version(f"{topic}-value").schema_id, "bytes": payload.hex()}
    # One file, one schema, whichever of its messages was meant.
    assert len({wrote[f"protobuf_{name}"]["id"] for name in ("pong", "ping", "inner")}) == 1
    subject = "net-ping-value"
    _, more, _ = described("ping.proto", [("host", 9), ("ttl", 5), ("size", 5)])
    ProtobufSerializer(more, client, plain)(more(host="a", size=1), context("net-ping"))
    assert client.get_versions(subject) == [1, 2]
    assert fresh().get_latest_version(subject).schema.schema_type == "PROTOBUF"
    _, other, _ = described("ping.proto", [("host", 5), ("ttl", 9)])
    refused(409, 409, lambda: ProtobufSerializer(other, client, plain)(other(host=1), context("net-ping")))


def levels_and_modes():
    step("levels and modes are set and read")
    assert client.get_compatibility() == "BACKWARD"
    for level in ["NONE", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE", "BACKWARD"]:
        client.set_compatibility(level=level)
        assert client.get_compatibility() == level
    refused(404, 40408, lambda: client.get_compatibility("orders-value"))
    client.set_compatibility("orders-value", "FULL")
    assert client.get_compatibility("orders-value") == "FULL"
    refused(422, 42203, lambda: client.set_compatibility("orders-value", "SOMETIMES"))
    # With the level NONE what was refused before is taken.
    client.set_compatibility("free-value", "NONE")
    for text in ['"string"', '"long"']:
        client.register_schema("free-value", Schema(text, "AVRO"))
    assert client.get_versions("free-value") == [1, 2]
    client.update_mode("free-value", "READONLY")
    assert client.get_mode("free-value") == "READONLY"
    refused(422, 42205, lambda: client.register_schema("free-value", Schema('"bytes"', "AVRO")))
    client.update_mode("free-value", "READWRITE")


def looking_and_deleting():
    step("what is there is found, and what was deleted is not")
    some = Schema('"string"', "AVRO")
    found = client.lookup_schema("free-value", some)
    assert found.version == 1
    assert fresh().get_schema(found.schema_id).schema_str.strip('"') == "string"
    assert "free-value" in client.get_subjects()
    assert client.get_subjects_by_schema_id(found.schema_id) == ["free-value"]
    places = fresh().get_schema_versions(found.schema_id)
    assert [(place.subject, place.version) for place in places] == [("free-value", 1)]
    assert client.delete_version("free-value", 1) == 1
    assert fresh().get_versions("free-value") == [2]
    assert client.delete_subject("free-value") == [2]
    assert client.delete_subject("free-value", permanent=True) == [1, 2]
    refused(404, 40401, lambda: fresh().get_versions("free-value"))
    refused(404, 40403, lambda: fresh().get_schema(4_000_000))
    refused(422, 42201, lambda: client.register_schema("bad-value", Schema('{"type": "record"', "AVRO")))
    assert {"AVRO", "JSON", "PROTOBUF"} <= set(client.get_schema_types())
    assert client.get_contexts() == ["."]
    # A name that has to be escaped.
    client.register_schema("a/b c?d", some)
    assert fresh().get_versions("a/b c?d") == [1]


for part in (avro, json_schema, protobuf, levels_and_modes, looking_and_deleting):
    part()
print(json.dumps(wrote))
