//! Publishing to streams and reading them back, block by block.

use weft_hub::Hub;
use weft_wire::frame::{Ack, AckLevel, ErrorCode, Frame, Start};

use super::Raw;

/// What the hub says to a publish at level `Synced`.
pub fn publish(client: &mut Raw, request: u64, block: &[u8]) -> Result<Ack, (ErrorCode, String)> {
    client.publish_block(request, AckLevel::Synced, block);
    answer(client, request)
}

/// What the hub says to a publish, which it answers next.
pub fn answer(client: &mut Raw, request: u64) -> Result<Ack, (ErrorCode, String)> {
    match client.receive().frame() {
        Frame::Ack(ack) if ack.request == request => Ok(ack),
        Frame::Error(error) if error.request == request => Err((error.code, error.detail.to_owned())),
        other => panic!("no answer to {request}: {other:?}"),
    }
}

/// The payloads of all events of the stream `all`, once it has so many.
pub fn read(hub: &Hub, count: usize) -> Vec<Vec<u8>> {
    let mut reader = Raw::connect(hub, 91);
    reader.subscribe_with(1, "**", |s| (s.stream, s.start) = ("all", Start::First));
    assert!(matches!(reader.receive().frame(), Frame::Subscribed(_)));
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(reader.delivered());
    }
    all.extend(reader.drain());
    all
}
