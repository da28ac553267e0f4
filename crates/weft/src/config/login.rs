//! The table `[login]`: whom a hub lets in that shows nothing, and whose servers
//! are asked for the keys of those who sign tokens.

use std::path::Path;

use weft_hub::HubOptions;

use super::reader::{Problems, Section};
use crate::login::Roots;

/// What the table says.
#[derive(Debug, Default)]
pub(super) struct Said {
    roots: Option<Roots>,
    anonymous: Option<bool>,
}

/// The table.
pub(super) fn read(mut section: Section<'_, '_>, folder: &Path, problems: &mut Problems) -> Said {
    let roots = section.text("ca", problems).map(|ca| Roots::File(folder.join(ca)));
    let anonymous = section.boolean("anonymous", problems);
    section.finish(problems);
    Said { roots, anonymous }
}

/// Takes it, once it is known whether policies decide: who shows nothing may do
/// nothing where they do.
pub(super) fn take(said: Said, options: &mut HubOptions, problems: &mut Problems) -> Roots {
    let enforces = options.control.enforce;
    if enforces && said.anonymous == Some(true) {
        let why = "who shows nothing may do nothing where policies decide: leave it out, or say `enforce = false` \
                   in `[control]` (for development)";
        problems.add_at("login.anonymous", why);
    }
    options.anonymous = said.anonymous.unwrap_or(!enforces);
    said.roots.unwrap_or(Roots::OfMachine)
}

/// As it counts.
pub(crate) fn show(roots: &Roots, options: &HubOptions) -> String {
    let ca = match roots {
        Roots::OfMachine => "# ca: the authorities that the machine trusts\n".to_owned(),
        Roots::File(path) => format!("ca = {path:?}\n"),
    };
    format!("\n[login]\n{ca}anonymous = {}\n", options.anonymous)
}
