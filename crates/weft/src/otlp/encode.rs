//! Spans and log events, as OTLP has them.

use prost::Message;
use serde_json::{Map, Value};
use weft_hub::see;

use super::proto::{
    Any, ExportLogs, ExportTraces, KeyValue, Link, LogRecord, Resource, ResourceLogs, ResourceSpans, STATUS_ERROR,
    Scope, ScopeLogs, ScopeSpans, Span, Status, kind,
};

/// Who says it: the same for all that a hub sends.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    pub(super) hub: String,
    pub(super) mesh: String,
    pub(super) region: String,
}

/// A log event.
#[derive(Clone, Debug)]
pub(crate) struct LogEvent {
    /// Unix nanoseconds.
    pub(crate) time: u64,
    pub(crate) level: tracing::Level,
    /// The event's fields, its code and message among them.
    pub(crate) fields: Map<String, Value>,
}

impl Speaker {
    /// Attributes by OpenTelemetry's names (semantic conventions 1.37).
    fn resource(&self) -> Resource {
        let mut attributes = vec![
            KeyValue::new("service.name", Any::Text("weft".to_owned())),
            KeyValue::new("service.version", Any::Text(env!("CARGO_PKG_VERSION").to_owned())),
            KeyValue::new("service.namespace", Any::Text(self.mesh.clone())),
            KeyValue::new("service.instance.id", Any::Text(self.hub.clone())),
        ];
        if !self.region.is_empty() {
            attributes.push(KeyValue::new("cloud.region", Any::Text(self.region.clone())));
        }
        Resource { attributes }
    }

    fn scope() -> Scope {
        Scope { name: "weft.hub".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// The bytes of a request with these spans.
    pub(super) fn traces(&self, spans: &[see::Span]) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans { scope: Some(Self::scope()), spans: spans.iter().map(span).collect() }];
        let resource_spans = vec![ResourceSpans { resource: Some(self.resource()), scope_spans }];
        ExportTraces { resource_spans }.encode_to_vec()
    }

    /// The bytes of a request with these log events.
    pub(super) fn logs(&self, events: &[LogEvent]) -> Vec<u8> {
        let log_records = events.iter().map(log_record).collect();
        let scope_logs = vec![ScopeLogs { scope: Some(Self::scope()), log_records }];
        ExportLogs { resource_logs: vec![ResourceLogs { resource: Some(self.resource()), scope_logs }] }.encode_to_vec()
    }
}

fn span(span: &see::Span) -> Span {
    let attributes = span.attributes.iter().map(|(name, value)| {
        KeyValue::new(
            name,
            match value {
                see::Value::Text(text) => Any::Text(text.clone()),
                see::Value::Number(number) => Any::Number(*number),
                see::Value::Flag(flag) => Any::Flag(*flag),
            },
        )
    });
    let links = span.links.iter().map(|(trace, span)| Link { trace_id: trace.to_vec(), span_id: span.to_vec() });
    Span {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map_or_else(Vec::new, |parent| parent.to_vec()),
        name: span.name.to_owned(),
        kind: match span.kind {
            see::Kind::Internal => kind::INTERNAL,
            see::Kind::Producer => kind::PRODUCER,
            see::Kind::Consumer => kind::CONSUMER,
        },
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: attributes.collect(),
        links: links.collect(),
        status: span.error.clone().map(|message| Status { message, code: STATUS_ERROR }),
    }
}

fn log_record(event: &LogEvent) -> LogRecord {
    // logs.v1.SeverityNumber.
    let severity = match event.level {
        tracing::Level::TRACE => 1,
        tracing::Level::DEBUG => 5,
        tracing::Level::INFO => 9,
        tracing::Level::WARN => 13,
        tracing::Level::ERROR => 17,
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let body = event.fields.get("message").map(|message| Any::Text(text(message)));
    let others = event.fields.iter().filter(|(name, _)| !matches!(name.as_str(), "message" | "code"));
    LogRecord {
        time_unix_nano: event.time,
        severity_number: severity,
        severity_text: event.level.as_str().to_owned(),
        body: body.map(|body| super::proto::AnyValue { value: Some(body) }),
        attributes: others
            .map(|(name, value)| {
                KeyValue::new(
                    name,
                    match value {
                        Value::Bool(flag) => Any::Flag(*flag),
                        Value::Number(number) if number.is_i64() => Any::Number(number.as_i64().unwrap_or(0)),
                        other => Any::Text(text(other)),
                    },
                )
            })
            .collect(),
        observed_time_unix_nano: event.time,
        event_name: event.fields.get("code").map(text).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SPEAKER: fn() -> Speaker = || Speaker { hub: "east".to_owned(), mesh: "m".to_owned(), region: String::new() };

    #[test]
    fn a_span_is_encoded_with_its_ids_times_attributes_links_and_status() {
        let one = see::Span {
            trace: [1; 16],
            id: [2; 8],
            parent: Some([3; 8]),
            name: "hop",
            kind: see::Kind::Consumer,
            start: 5,
            end: 9,
            attributes: vec![("weft.copies", see::Value::Number(7)), ("weft.incomplete", see::Value::Flag(true))],
            links: vec![([4; 16], [5; 8])],
            error: Some("1 dropped: link_full".to_owned()),
        };
        let root = see::Span { parent: None, error: None, ..one.clone() };
        let bytes = SPEAKER().traces(&[one, root]);
        let request = ExportTraces::decode(bytes.as_slice()).expect("what was encoded");
        let [resource] = request.resource_spans.as_slice() else { panic!("one resource") };
        let [first, root] = resource.scope_spans[0].spans.as_slice() else { panic!("two spans") };
        assert_eq!((first.trace_id.as_slice(), first.span_id.as_slice()), (&[1; 16][..], &[2; 8][..]));
        assert_eq!((first.parent_span_id.as_slice(), root.parent_span_id.as_slice()), (&[3; 8][..], &[][..]));
        assert_eq!((first.start_time_unix_nano, first.end_time_unix_nano, first.kind), (5, 9, kind::CONSUMER));
        assert_eq!((first.links.len(), first.attributes.len()), (1, 2));
        assert_eq!((first.status.clone().map(|s| s.code), root.status.clone()), (Some(STATUS_ERROR), None));
    }

    #[test]
    fn a_log_event_keeps_its_code_message_and_fields() {
        let Value::Object(fields) = json!({"code": "link_up", "message": "up", "hub": "east", "n": 3, "is": true})
        else {
            panic!("an object")
        };
        let event = LogEvent { time: 8, level: tracing::Level::WARN, fields };
        let bytes = SPEAKER().logs(&[event]);
        let request = ExportLogs::decode(bytes.as_slice()).expect("what was encoded");
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!((record.event_name.as_str(), record.severity_number, record.time_unix_nano), ("link_up", 13, 8));
        assert_eq!(record.body.clone().and_then(|body| body.value), Some(Any::Text("up".to_owned())));
        assert_eq!(record.attributes.len(), 3);
    }
}
