//! CloudEvents: any bytes are an event or refused, and what is one stays the same
//! through JSON, the headers of HTTP and the mesh.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_cloudevents::{CloudEvent, Defaults, Delivered, batched, decoded, encoded, json};
use weft_wire::headers::Headers;

fuzz_target!(|data: &[u8]| {
    let _ = json::members(data);
    let _ = json::elements(data, 16);
    if let Some(text) = decoded(data) {
        assert_eq!(decoded(encoded(&text).as_bytes()), Some(text));
    }
    let mut events: Vec<CloudEvent> = CloudEvent::structured(data).into_iter().collect();
    events.extend(batched(data, 16).into_iter().flatten().flatten());
    // Lines `NAME: VALUE`, and a body behind an empty one.
    let (head, body) = data.iter().position(|byte| *byte == 0).map_or((data, &[][..]), |at| data.split_at(at));
    let headers = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        Some((std::str::from_utf8(&line[..at]).ok()?, &line[at + 1..]))
    });
    events.extend(CloudEvent::binary(headers, None, body.to_vec()));
    for event in events {
        let text = event.to_structured();
        let read = CloudEvent::structured(text.as_bytes()).expect("its own JSON");
        assert!(read.attributes().eq(event.attributes()));
        let defaults = Defaults { id: "1", source: "a", time: "2030-01-01T10:00:00Z" };
        let Ok(parts) = event.clone().into_parts(&[]) else { continue };
        let headers = Headers::validate(&parts.headers).expect("its own headers");
        let (key, payload) = (parts.key.as_bytes(), parts.payload.as_slice());
        let delivered = Delivered { topic: "a", key, headers, payload, passing: &[] };
        let back = CloudEvent::of_event(&delivered, &defaults);
        assert_eq!(back.data(), event.data());
        for (name, value) in event.attributes().filter(|(name, _)| !name.starts_with("weft")) {
            assert!(
                back.attribute(name) == Some(value) || back.attributes().count() >= weft_cloudevents::MOST_ATTRIBUTES
            );
        }
    }
});
