//! What the consume stage knows of a subscriber that somebody asks for: the
//! consumers of the name, and those that its sessions are members of.

use super::ConsumeStage;
use crate::messages::{Target, ToNet};
use crate::see::look::{ConsumerState, Look, MOST};

impl ConsumeStage {
    /// Puts in the consumers, and sends the question back.
    pub(super) fn on_look(&mut self, mut look: Box<Look>) {
        let mut streams: Vec<_> = self.streams.values().collect();
        streams.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut found = Vec::new();
        for (stream, name, key) in
            streams.iter().flat_map(|s| s.consumers.iter().map(move |(name, key)| (s, name, key)))
        {
            let Some(entry) = self.entries.get(key.place as usize).and_then(Option::as_ref) else { continue };
            let whole = format!("{}/{name}", stream.name);
            let targets: Vec<Target> = entry.members.iter().map(|member| member.target).collect();
            let has_member = targets.iter().any(|target| look.clients.iter().any(|c| c.session == target.session));
            if *name != look.name && whole != look.name && !has_member {
                look.note(name);
            } else if found.len() < MOST {
                found.push(ConsumerState {
                    stream: stream.name.clone(),
                    definition: entry.definition.clone(),
                    report: entry.consumer.report(stream.reader.synced()),
                    targets,
                });
            }
        }
        look.consumers = found;
        self.net.push(ToNet::Looked(look));
    }
}
