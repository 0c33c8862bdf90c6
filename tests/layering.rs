//! Who may import whom: the `use crate::` lines of `src/` against the table of the design.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Module → what it may import. `cli` composes everything; `lib.rs` and `main.rs` only name modules.
const ALLOWED: &[(&str, &[&str])] = &[
    ("admin", &["client", "protocol", "key"]),
    ("gateway", &["protocol", "key", "sys", "spool"]),
    (
        "agent",
        &["link", "control", "protocol", "spool", "sys", "key"],
    ),
    (
        "client",
        &["link", "local", "protocol", "sys", "key", "config"],
    ),
    ("link", &["protocol", "key"]),
    ("supervisor", &["sys", "control"]),
    ("session", &["supervisor", "control", "sys"]),
    ("config", &["key"]),
    ("protocol", &["key"]),
    ("local", &["sys"]),
    ("control", &[]),
    ("sys", &[]),
    ("telemetry", &[]),
    ("key", &[]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules that a text names after `crate::`, in `use` lines with braces and in paths.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if text.get(..at).is_some_and(|before| before.ends_with('$')) {
            continue;
        }
        let rest = text.get(at + "crate::".len()..).unwrap_or_default();
        let ends = |c: char| !(c.is_alphanumeric() || c == '_');
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut name = String::new();
            for letter in list.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && !ends(letter) {
                    name.push(letter);
                } else if !name.is_empty() {
                    found.push(std::mem::take(&mut name));
                }
                if depth == 0 {
                    break;
                }
            }
            // Names behind `::` within the braces belong to the module before them.
            found.retain(|name| ALLOWED.iter().any(|(module, _)| module == name) || name == "cli");
        } else {
            found.push(rest.split(ends).next().unwrap_or_default().to_owned());
        }
    }
    found
}

#[test]
fn every_import_is_one_that_the_design_allows() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let first = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy();
        let module = first.trim_end_matches(".rs");
        if ["lib", "main", "cli"].contains(&module) {
            continue;
        }
        let may = allowed
            .get(module)
            .unwrap_or_else(|| panic!("{module} is not in the table"));
        for import in imports(&std::fs::read_to_string(&file).unwrap()) {
            if import != module && !may.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_import_is_found_in_each_of_its_forms() {
    assert_eq!(imports("use crate::key::Secret;"), ["key"]);
    assert_eq!(imports("use crate::{agent, sys::fd};"), ["agent", "sys"]);
    assert_eq!(
        imports("let x = crate::gateway::Gateway::new();"),
        ["gateway"]
    );
    assert_eq!(imports("macro: $crate::hidden"), [""; 0]);
}

/// None of the files under `src` is longer than this, its unit tests included.
const LONGEST: usize = 500;

#[test]
fn no_source_file_is_too_long_to_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", file.display());
    }
}

/// `unsafe` is in `sys` and at the entry symbol only.
#[test]
fn unsafe_code_is_in_one_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        if relative.starts_with("sys")
            || relative == Path::new("sys.rs")
            || relative == Path::new("main.rs")
        {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for form in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"] {
            assert!(!text.contains(form), "{} has `{form}`", file.display());
        }
    }
}
