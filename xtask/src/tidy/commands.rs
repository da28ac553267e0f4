//! The subcommands of `weft`, read from the clap enums in its source.

use super::tree::Tree;

const FOLDER: &str = "crates/weft/src/";

/// An enum of subcommands.
struct Choice {
    name: String,
    /// A subcommand, and the types that its variant names.
    variants: Vec<(String, Vec<String>)>,
}

/// What can stand behind `weft`.
pub(super) struct Commands {
    choices: Vec<Choice>,
    /// Structs of arguments, and the types that their fields name.
    structs: Vec<(String, Vec<String>)>,
}

impl Commands {
    /// Reads the program's source.
    pub(super) fn read(tree: &Tree) -> Self {
        let mut commands = Self { choices: Vec::new(), structs: Vec::new() };
        for file in tree.rust().filter(|file| file.path.starts_with(FOLDER)) {
            for (at, _) in file.code.match_indices("#[derive(") {
                let derives = file.code[at..].split(']').next().unwrap_or_default();
                let names = words(derives);
                let Some((kind, name, body)) = item(&file.code, at) else { continue };
                if kind == "enum" && names.contains(&"Subcommand") {
                    let variants = variants(&file.code, &file.text, body);
                    commands.choices.push(Choice { name, variants });
                } else if kind == "struct" && names.iter().any(|n| ["Args", "Parser"].contains(n)) {
                    let types = words(&file.code[body]).into_iter().map(str::to_owned).collect();
                    commands.structs.push((name, types));
                }
            }
        }
        commands
    }

    /// What is wrong with `weft FIRST SECOND`, if anything.
    pub(super) fn unknown(&self, first: &str, second: Option<&str>) -> Option<String> {
        let inner: Vec<&str> = self
            .choices
            .iter()
            .flat_map(|c| c.variants.iter())
            .filter_map(|(_, types)| self.choice_of(types))
            .collect();
        let mut top = self.choices.iter().filter(|choice| !inner.contains(&choice.name.as_str()));
        let Some((_, types)) = top.find_map(|choice| choice.variants.iter().find(|(name, _)| name == first)) else {
            return (first != "help").then(|| format!("there is no `weft {first}`"));
        };
        let nested = self.choice_of(types).and_then(|name| self.choices.iter().find(|choice| choice.name == name))?;
        let second = second?;
        let known = second == "help" || nested.variants.iter().any(|(name, _)| name == second);
        (!known).then(|| format!("there is no `weft {first} {second}`"))
    }

    /// The enum of subcommands that these types lead to, directly or through a struct.
    fn choice_of<'a>(&'a self, types: &'a [String]) -> Option<&'a str> {
        let direct = |types: &[String]| {
            self.choices.iter().find(|choice| types.contains(&choice.name)).map(|choice| choice.name.as_str())
        };
        direct(types).or_else(|| {
            let through = self.structs.iter().filter(|(name, _)| types.contains(name));
            through.into_iter().find_map(|(_, inner)| direct(inner))
        })
    }
}

/// The item behind a derive: its kind, its name, and the place of its body.
fn item(code: &str, at: usize) -> Option<(&str, String, std::ops::Range<usize>)> {
    let rest = &code[at..];
    let kinds = ["enum ", "struct "].map(|kind| rest.find(kind).map(|place| (place, kind)));
    let (place, kind) = kinds.into_iter().flatten().min()?;
    let named = &rest[place + kind.len()..];
    let name: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let open = at + place + kind.len() + named.find(['{', '(', ';'])?;
    let mut depth = 0usize;
    for (offset, c) in code[open..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((kind.trim(), name, open + 1..(open + offset).max(open + 1)));
        }
    }
    None
}

/// The variants in an enum's body, under the names that clap gives them.
fn variants(code: &str, text: &str, body: std::ops::Range<usize>) -> Vec<(String, Vec<String>)> {
    let (mut depth, mut start) = (0usize, body.start);
    let mut found = Vec::new();
    for (offset, c) in code[body.clone()].char_indices().chain([(body.len(), ',')]) {
        match c {
            '{' | '(' | '[' | '<' => depth += 1,
            '}' | ')' | ']' | '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.extend(variant(code, text, start..body.start + offset));
                start = (body.start + offset + 1).min(body.end);
            }
            _ => {}
        }
    }
    found
}

fn variant(code: &str, text: &str, piece: std::ops::Range<usize>) -> Option<(String, Vec<String>)> {
    let mut rest = code[piece.clone()].trim_start();
    let mut given = None;
    while rest.starts_with("#[") {
        let end = rest.find(']')? + 1;
        // Literals are blanked in the code; the text has them at the same place.
        let from = piece.end - (code[piece.start..piece.end].len() - (code[piece.clone()].len() - rest.len()));
        let attribute = &text[from..from + end];
        if let Some((_, name)) = attribute.split_once("name = \"") {
            given = name.split('"').next().map(str::to_owned);
        }
        rest = rest[end..].trim_start();
    }
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
    if name.is_empty() {
        return None;
    }
    let types = words(&rest[name.len()..]).into_iter().map(str::to_owned).collect();
    Some((given.unwrap_or_else(|| kebab(&name)), types))
}

/// `StreamList` is `stream-list` on the command line.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    for (index, c) in name.char_indices() {
        if c.is_uppercase() && index > 0 {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn words(code: &str) -> Vec<&str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_and_their_subcommands_are_read() {
        let text = "/// The program.\n#[derive(Debug, Parser)]\n#[command(name = \"weft\")]\nstruct Arguments {\n    #[command(subcommand)]\n    command: Command,\n}\n\
                    #[derive(Subcommand)]\nenum Command {\n    /// Runs, with \"quotes\", and commas.\n    Hub(HubArguments),\n    #[command(name = \"pub\", about = \"x\")]\n    Publish(Box<PubArguments>),\n    Stream(StreamArguments),\n    MeshShow { a: Vec<u8>, b: u8 },\n}\n\
                    #[derive(Args)]\nstruct StreamArguments {\n    #[command(subcommand)]\n    what: StreamCommand,\n}\n\
                    #[derive(Subcommand)]\nenum StreamCommand {\n    Create { name: String },\n    List,\n}\n";
        let commands = Commands::read(&Tree::sample([("crates/weft/src/main.rs", text)]));
        for known in
            [("hub", None), ("pub", Some("x")), ("stream", Some("create")), ("mesh-show", None), ("help", None)]
        {
            assert_eq!(commands.unknown(known.0, known.1), None, "{known:?}");
        }
        assert!(commands.unknown("publish", None).is_some());
        assert!(commands.unknown("create", None).is_some());
        assert_eq!(commands.unknown("stream", Some("gone")).unwrap(), "there is no `weft stream gone`");
    }
}
