//! The mapping of a running hub: at SIGHUP its configuration is read again, and
//! other rules take the place of those in force. Nothing else of it counts then.

use std::path::PathBuf;

use weft_hub::Hub;
use weft_topic::mapping::{MappingSpec, Mappings};

use crate::config;

/// Looks after the rules of one hub.
pub(crate) struct Rules {
    /// The configuration; a hub without one has no rules.
    config: Option<PathBuf>,
    current: Vec<MappingSpec>,
    /// New ones, until the hub has them.
    next: Option<Mappings>,
}

impl Rules {
    pub(crate) fn new(config: Option<PathBuf>, current: &Mappings) -> Self {
        Self { config, current: current.specs(), next: None }
    }

    /// Reads the configuration again where it is `asked` to. What cannot be used
    /// is told and changes nothing.
    pub(crate) fn look(&mut self, hub: &Hub, asked: bool) {
        if let Some(path) = self.config.as_ref().filter(|_| asked) {
            match config::load(path) {
                Ok(options) => self.next = Some(options.hub.mapping),
                Err(error) => {
                    let why = error.to_string();
                    tracing::error!(
                        code = "mapping_unusable",
                        why,
                        "the configuration cannot be used: the hub goes on with the rules that it has"
                    );
                }
            }
        }
        let Some(next) = self.next.take() else { return };
        let specs = next.specs();
        // A hub that is busy takes them at the next look.
        if specs == self.current || hub.set_mapping(next.clone()).is_ok() {
            self.current = specs;
        } else {
            self.next = Some(next);
        }
    }
}
