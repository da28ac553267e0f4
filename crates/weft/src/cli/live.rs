//! How the command line says at which hubs something is to be live.

use weft_client::LiveAt;

/// Reads `all`, `here`, a number of hubs, or names with commas between them.
pub(super) fn live_at(text: &str) -> Result<LiveAt, String> {
    match text {
        "all" => return Ok(LiveAt::All),
        "here" => return Ok(LiveAt::Here),
        _ => {}
    }
    let at = match text.parse::<u32>() {
        Ok(count) => LiveAt::Hubs(count),
        Err(_) => LiveAt::Named(text.split(',').map(str::to_owned).collect()),
    };
    if let LiveAt::Named(names) = &at
        && let Some(name) = names.iter().find(|name| !weft_hub::options::is_label(name))
    {
        return Err(format!("`{name}` is no hub's name: write all, here, a number, or names with commas between them"));
    }
    at.check().map_err(|error| error.to_string())?;
    Ok(at)
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
        let many = vec!["newark"; weft_client::MAX_LIVE_HUBS + 1].join(",");
        for wrong in ["0", "", "newark,", "Newark", "a b", &many] {
            assert!(live_at(wrong).is_err(), "{wrong}");
        }
    }
}
