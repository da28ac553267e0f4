//! A configuration by its keys, to say what differs between two: the effective
//! values as `weft hub --check` prints them, and of what is not printed there, such
//! as secrets, something that is another one when it is.

use std::collections::BTreeMap;

use tracing::Level;
use weft_hub::HubOptions;
use weft_transport::Security;

use crate::config::{self, Config};
use crate::hooks::HookOptions;

/// Values by the paths of their keys, such as `limits.arena`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys(BTreeMap<String, String>);

impl Keys {
    /// Of a whole configuration.
    pub(super) fn of(config: &Config) -> Self {
        let mut keys = Self::default();
        keys.add("", &config::show(&config.hub));
        keys.add("", &config::show_login(&config.login, &config.hub));
        keys.add("", &config.issue.as_ref().map(config::show_issue).unwrap_or_default());
        keys.add("", &config.http.as_ref().map(config::show_http).unwrap_or_default());
        keys.add("", &config.hooks.iter().map(config::show_webhook).collect::<String>());
        if let Some(otlp) = &config.otlp {
            keys.add("", &config::show_otlp(otlp));
            keys.put("telemetry.otlp.headers_file", otlp.headers.fingerprint().to_string());
        }
        if let Some(files) = &config.tls {
            let crl = files.crl.as_ref().map(|path| path.display().to_string());
            keys.put("tls.cert", files.cert.display().to_string());
            keys.put("tls.key", files.key.display().to_string());
            keys.put("tls.ca", files.ca.display().to_string());
            keys.put("tls.crl", crl.unwrap_or_default());
            keys.put("tls.renew", config.renew.join(" "));
        }
        if let Some(storage) = &config.hub.storage.keys {
            keys.put("storage.key_file", storage.ids());
        }
        // A listener for hubs has TLS; that clients have it shows in `plain`.
        let has_identity = matches!(config.hub.link_security, Some(Security::Tls(_)));
        keys.put("tls", has_identity.to_string());
        keys.put("log", config.log.map(|level| level.to_string()).unwrap_or_default());
        keys
    }

    /// The same, with these options of the hub, these webhooks, where others are taken,
    /// and this level of the log.
    pub(super) fn with(&self, hub: &HubOptions, hooks: Option<&[HookOptions]>, log: Option<Level>) -> Self {
        let mut keys = self.clone();
        // What may be there in one and not in the other.
        keys.0.retain(|key, _| !["neighbours", "mapping", "metric", "drain_on_stop"].contains(&key.as_str()));
        keys.add("", &config::show(hub));
        if let Some(hooks) = hooks {
            keys.0.remove("webhook");
            keys.add("", &hooks.iter().map(config::show_webhook).collect::<String>());
        }
        keys.put("log", log.map(|level| level.to_string()).unwrap_or_default());
        keys
    }

    /// The keys that differ, in order.
    pub(super) fn differ(&self, other: &Self) -> Vec<String> {
        let mut keys: Vec<&String> = self.0.keys().chain(other.0.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().filter(|key| self.0.get(*key) != other.0.get(*key)).cloned().collect()
    }

    fn put(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn add(&mut self, at: &str, text: &str) {
        // What the program shows, it reads; otherwise the whole of it is one value.
        match text.parse::<toml::Table>() {
            Ok(table) => self.flatten(at, table),
            Err(_) => self.put("(all)", text),
        }
    }

    fn flatten(&mut self, at: &str, table: toml::Table) {
        for (key, value) in table {
            let path = if at.is_empty() { key } else { format!("{at}.{key}") };
            match value {
                toml::Value::Table(table) => self.flatten(&path, table),
                // Neighbours have no order.
                toml::Value::Array(items) if path == "neighbours" => {
                    let mut items: Vec<String> = items.iter().map(ToString::to_string).collect();
                    items.sort();
                    self.put(&path, items.join("\n"));
                }
                other => self.put(&path, other.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn keys(text: &str) -> Keys {
        let text = format!("name = \"boston\"\n{text}\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n");
        let config = config::parse(&text, Path::new("")).unwrap_or_else(|e| panic!("{e:?}"));
        Keys::of(&config)
    }

    #[test]
    fn what_differs_is_told_by_its_keys() {
        let plain = keys("");
        assert!(!plain.0.contains_key("(all)"), "what is shown is TOML: {plain:?}");
        assert_eq!(plain.differ(&keys("log = \"info\"")), ["log"]);
        assert_eq!(plain.differ(&plain), [] as [&str; 0]);
        let other = keys("region = \"eu\"\n[limits]\narena = \"128 MiB\"\n[[mapping]]\nfrom = \"a\"\nto = \"b\"");
        assert_eq!(plain.differ(&other), ["limits.arena", "mapping", "region"]);
    }

    #[test]
    fn what_a_hub_took_is_in_force_and_the_rest_waits() {
        let parse = |text: &str| {
            let text = format!("name = \"boston\"\n{text}\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n");
            config::parse(&text, Path::new("")).unwrap_or_else(|e| panic!("{e:?}"))
        };
        let old = parse("[[mapping]]\nfrom = \"a\"\nto = \"b\"");
        let new = parse("region = \"eu\"\n[limits]\nsubscriptions = 77");
        let taken = Keys::of(&old).with(&old.hub.reloaded(&new.hub), None, new.log);
        assert_eq!(Keys::of(&old).differ(&taken), ["limits.subscriptions", "mapping"]);
        assert_eq!(taken.differ(&Keys::of(&new)), ["region"]);
    }
}
