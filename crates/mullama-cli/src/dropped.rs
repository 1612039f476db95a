//! Pictures dropped into a prompt: dragging a file to a terminal inserts its path.

use std::path::PathBuf;

use mullama_base::folders;

/// File name extensions of pictures.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "gif", "bmp", "webp"];

/// Returns the prompt without the paths of existing picture files, and these paths. A path is in quotes, or has
/// backslashes before spaces. It must start with `/`, `./`, `../`, `~/` or a drive, so that no ordinary word is taken
/// for one.
pub fn split(prompt: &str) -> (String, Vec<PathBuf>) {
    let (mut text, mut paths) = (String::new(), Vec::new());
    let mut rest = prompt;
    while let Some(first) = rest.chars().next() {
        let begins_word = text.is_empty() || text.ends_with(char::is_whitespace);
        if begins_word && let Some((path, length)) = path_at(rest) {
            paths.push(path);
            rest = &rest[length..];
            if text.is_empty() || text.ends_with(' ') {
                rest = rest.strip_prefix(' ').unwrap_or(rest);
            }
            continue;
        }
        text.push(first);
        rest = &rest[first.len_utf8()..];
    }
    if paths.is_empty() { (prompt.to_owned(), paths) } else { (text.trim().to_owned(), paths) }
}

/// Whether a text begins with the path of an existing picture file.
pub fn begins_with_picture(text: &str) -> bool {
    path_at(text).is_some()
}

/// The picture's path at the beginning of a text, and its length there in bytes.
fn path_at(text: &str) -> Option<(PathBuf, usize)> {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''));
    if let Some(quote) = quote {
        let length = text[1..].find(quote)?;
        return Some((picture(&text[1..=length])?, length + 2));
    }
    let mut path = String::new();
    let mut length = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character.is_whitespace() {
            break;
        }
        length += character.len_utf8();
        let escaped = (character == '\\' && !cfg!(windows)).then(|| characters.next()).flatten();
        length += escaped.map_or(0, char::len_utf8);
        path.push(escaped.unwrap_or(character));
    }
    // The path may be followed by punctuation at the end of a sentence.
    let bare = path.trim_end_matches(['.', ',', ';', ':', '!', '?', ')']);
    let left_out = path.len() - bare.len();
    Some((picture(bare)?, length - left_out))
}

fn picture(path: &str) -> Option<PathBuf> {
    let starts = ["./", "../", "~/", ".\\", "..\\"];
    let full = folders::expand_home(path.as_ref()).into_owned();
    let says_where = full.is_absolute() || starts.iter().any(|start| path.starts_with(start));
    let ending = full.extension()?.to_str()?.to_ascii_lowercase();
    (says_where && ENDINGS.contains(&ending.as_str()) && full.is_file()).then_some(full)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn image_paths_are_removed_from_the_prompt() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["cat.png", "a dog.JPG", "it's.webp", "notes.txt"] {
            fs::write(path(name), "").unwrap();
        }
        let at = |name: &str| path(name).display().to_string();
        let (cat, dog) = (at("cat.png"), at("a dog.JPG"));
        let escaped = dog.replace(' ', "\\ ");
        let quoted = format!("\"{}\"", at("it's.webp"));
        for (prompt, text, names) in [
            (format!("What is {cat}"), "What is", vec!["cat.png"]),
            (format!("{cat} What is it?"), "What is it?", vec!["cat.png"]),
            (format!("Is {cat}, or '{dog}'?"), "Is , or ?", vec!["cat.png", "a dog.JPG"]),
            (format!("What is in {cat}? Look."), "What is in ? Look.", vec!["cat.png"]),
            (format!("{quoted}\nWho?"), "Who?", vec!["it's.webp"]),
            (cat.clone(), "", vec!["cat.png"]),
        ] {
            let found = names.iter().map(|name| path(name)).collect::<Vec<_>>();
            assert_eq!(split(&prompt), (text.to_owned(), found), "{prompt}");
        }
        #[cfg(not(windows))]
        assert_eq!(split(&format!("a {escaped} b")), ("a b".to_owned(), vec![path("a dog.JPG")]));
        for prompt in [
            String::new(),
            "no path".to_owned(),
            "cat.png".to_owned(),
            format!("{} ", at("none.png")),
            at("notes.txt"),
            format!("a{cat}"),
            format!("'{cat}"),
            "\\".to_owned(),
            "\"".to_owned(),
        ] {
            assert_eq!(split(&prompt), (prompt.clone(), Vec::new()));
        }
    }
}
