//! How the command line says at which hubs something is to be live.

use weft_client::{LiveAt, MAX_LIVE_HUBS};

/// Reads `all`, `here`, a number of hubs, or names with commas between them.
pub(super) fn live_at(text: &str) -> Result<LiveAt, String> {
    match text {
        "all" => return Ok(LiveAt::All),
        "here" => return Ok(LiveAt::Here),
        _ => {}
    }
    if let Ok(count) = text.parse::<u32>() {
        return if count > 0 { Ok(LiveAt::Hubs(count)) } else { Err("0 hubs are none: at least 1".to_owned()) };
    }
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    if let Some(name) = names.iter().find(|name| !weft_hub::options::is_label(name)) {
        return Err(format!("`{name}` is no hub's name: write all, here, a number, or names with commas between them"));
    }
    if names.len() > MAX_LIVE_HUBS {
        return Err(format!("{} hubs are too many to name: at most {MAX_LIVE_HUBS}", names.len()));
    }
    Ok(LiveAt::Named(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_something_is_to_be_live_is_read() {
        let named = |names: &[&str]| Ok(LiveAt::Named(names.iter().map(|&name| name.to_owned()).collect()));
        for (text, at) in [
            ("all", Ok(LiveAt::All)),
            ("here", Ok(LiveAt::Here)),
            ("3", Ok(LiveAt::Hubs(3))),
            ("newark", named(&["newark"])),
            ("newark,chicago", named(&["newark", "chicago"])),
        ] {
            assert_eq!(live_at(text), at);
        }
        for wrong in ["0", "", "newark,", "Newark", "a b"] {
            assert!(live_at(wrong).is_err(), "{wrong}");
        }
    }
}
