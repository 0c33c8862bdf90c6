//! `--command`: a text becomes the words of a program.
//!
//! It is split once, by POSIX quoting. A text that only a shell can carry out (an operator, an expansion, a glob, a leading
//! `NAME=value`) is given to `sh -c` unchanged.

/// The words of `text`; an error when it cannot be split.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    let words = shell_words::split(text)
        .map_err(|_| format!("--command: a quote is not closed in {text:?}"))?;
    if words.first().is_none_or(String::is_empty) {
        return Err("--command: there is no program in it".to_owned());
    }
    if needs_shell(text) {
        return Ok(["sh", "-c", text].map(str::to_owned).to_vec());
    }
    Ok(words)
}

/// Whether only a shell understands `text`.
fn needs_shell(text: &str) -> bool {
    let mut quote = None;
    let mut escaped = false;
    let mut word_starts = true;
    for letter in text.chars() {
        if std::mem::take(&mut escaped) {
            word_starts = false;
            continue;
        }
        match (quote, letter) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None | Some('"'), '\\') => escaped = true,
            (None | Some('"'), '$' | '`') => return true,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '|' | '&' | ';' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '\n') => {
                return true;
            }
            (None, '#' | '~') if word_starts => return true,
            _ => {}
        }
        word_starts = quote.is_none() && letter.is_whitespace();
    }
    starts_with_assignment(text)
}

fn starts_with_assignment(text: &str) -> bool {
    let Some((name, _)) = text.trim_start().split_once('=') else {
        return false;
    };
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::words;

    /// console-sessions A6. The reference keeps quotes as part of the words (E16).
    #[test]
    fn a_text_is_split_as_a_shell_splits_it_or_given_to_one() {
        let long = "x".repeat(100_000);
        let plain: &[(&str, &[&str])] = &[
            ("rails console", &["rails", "console"]),
            ("a \"b c\"", &["a", "b c"]),
            ("a 'b c' d", &["a", "b c", "d"]),
            ("a b\\ c", &["a", "b c"]),
            ("a '' \"\"", &["a", "", ""]),
            ("a \"x'y\" 'p\"q'", &["a", "x'y", "p\"q"]),
            ("  a\t b  ", &["a", "b"]),
            ("a \\$HOME '$HOME'", &["a", "$HOME", "$HOME"]),
            ("a '*' \\* \"?\"", &["a", "*", "*", "?"]),
            ("a \\; ';' \"|\"", &["a", ";", ";", "|"]),
            ("grüße welt-ß", &["grüße", "welt-ß"]),
            ("a b#c x~y", &["a", "b#c", "x~y"]),
            ("a x=1 --y=2", &["a", "x=1", "--y=2"]),
            (
                "./bin/rails c -e production",
                &["./bin/rails", "c", "-e", "production"],
            ),
            ("a \"\\\"quoted\\\"\"", &["a", "\"quoted\""]),
            ("'a b'/c", &["a b/c"]),
            (&long, &[&long]),
        ];
        for (text, expected) in plain {
            assert_eq!(
                words(text).as_deref(),
                Ok(expected.map_to_strings().as_slice()),
                "{text:.40}"
            );
        }
        for text in [
            "a && b",
            "a | b",
            "a; b",
            "a & b",
            "a > b",
            "a < b",
            "(a)",
            "echo $HOME",
            "echo \"$HOME\"",
            "echo `a`",
            "ls *",
            "ls ?",
            "ls [a]",
            "A=1 a",
            "a ~/x",
            "a # b",
        ] {
            assert_eq!(
                words(text),
                Ok(vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()])
            );
        }
        for text in ["a 'b", "a \"b", "", "   ", "'' a"] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    trait Strings {
        fn map_to_strings(&self) -> Vec<String>;
    }

    impl Strings for &[&str] {
        fn map_to_strings(&self) -> Vec<String> {
            self.iter().map(|word| (*word).to_owned()).collect()
        }
    }
}
