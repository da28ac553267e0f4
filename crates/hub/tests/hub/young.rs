//! A hub that has just started knows of no stream elsewhere: what is asked of it
//! then waits for word of the mesh, or is to be asked again.

use std::time::Duration;

use crate::common::mesh::{authority, link_addr, member};
use crate::common::{Raw, start, stop};
use weft_wire::frame::{AckLevel, ErrorCode, Frame, StreamInfo, StreamSpec};

fn create(client: &mut Raw, name: &str, filter: &str) {
    let spec = StreamSpec { name, filters: vec![filter], segment_bytes: 4 << 20, ..StreamSpec::default() };
    client.create_stream(spec);
}

/// What becomes of a request: 0 and the code of a refusal, or the level of an acknowledgement.
fn outcome(client: &mut Raw, request: u64) -> Result<AckLevel, ErrorCode> {
    loop {
        match client.receive().frame() {
            // It says what a publish waits for.
            Frame::WhyReport(_) => {}
            Frame::Ack(ack) if ack.request == request => return Ok(ack.level),
            Frame::Error(error) if error.request == request => return Err(error.code),
            other => panic!("no answer to {request}: {other:?}"),
        }
    }
}

#[test]
fn what_a_hub_cannot_place_waits_until_it_knows_who_keeps_what() {
    let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
    let mut options = member(&ca, "door", "127.0.0.1:0", &[]);
    options.timers.home_patience = Duration::from_secs(600);
    let door = start(options);
    let mut options = member(&ca, "keeper", "127.0.0.1:0", &[("door", link_addr(&door))]);
    options.data = Some(data.path().to_owned());
    // The hub at the door has no link yet.
    let mut client = Raw::connect(&door, 1);
    client.publish(1, AckLevel::Synced, "t/1", &[b"1"]);
    let mut other = Raw::connect(&door, 2);
    other.send(&Frame::StreamInfo(StreamInfo { request: 2, name: "far" }));
    assert_eq!(outcome(&mut other, 2), Err(ErrorCode::UNREACHABLE), "whoever reads asks again");
    client.publish(3, AckLevel::Synced, "t/2", &[b"2"]);
    // The keeper has its stream before its link.
    let alone = start(weft_hub::HubOptions { neighbours: Vec::new(), ..options.clone() });
    create(&mut Raw::connect(&alone, 3), "far", "t/**");
    stop(alone);
    let keeper = start(options);
    assert_eq!(outcome(&mut client, 1), Ok(AckLevel::Synced));
    assert_eq!(outcome(&mut client, 3), Ok(AckLevel::Synced));
    client.publish(4, AckLevel::Synced, "nowhere", &[b"4"]);
    assert_eq!(outcome(&mut client, 4), Err(ErrorCode::NO_STREAM), "now it knows that there is none");
    other.send(&Frame::StreamInfo(StreamInfo { request: 5, name: "none" }));
    assert_eq!(outcome(&mut other, 5), Err(ErrorCode::NO_STREAM));
    stop(keeper);
    stop(door);
}

#[test]
fn a_hub_that_has_never_had_others_waits_for_none() {
    let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
    let mut options = member(&ca, "alone", "127.0.0.1:0", &[]);
    options.data = Some(data.path().to_owned());
    options.timers.home_patience = Duration::from_secs(600);
    let hub = start(options);
    let mut client = Raw::connect(&hub, 1);
    create(&mut client, "own", "t/**");
    client.publish(1, AckLevel::Synced, "t/1", &[b"1"]);
    assert_eq!(outcome(&mut client, 1), Ok(AckLevel::Synced));
    client.publish(2, AckLevel::Synced, "nowhere", &[b"2"]);
    assert_eq!(outcome(&mut client, 2), Err(ErrorCode::NO_STREAM));
    stop(hub);
}
