//! What the compiler does not check: who may depend on whom, that each source file says what it is, that none is left over.

use std::collections::BTreeMap;
use std::path::Path;

use cargo_metadata::MetadataCommand;
use walkdir::WalkDir;

/// The packages and what they may use of each other.
const EDGES: [(&str, &[&str]); 6] = [
    ("crdt", &[]),
    ("net", &[]),
    ("sim", &["crdt"]),
    ("node", &["crdt", "net"]),
    ("tests", &["crdt", "net", "node", "sim"]),
    ("xtask", &[]),
];

/// Runs every check; the error lists every problem.
pub(crate) fn run(root: &Path) -> Result<(), Vec<String>> {
    let mut problems = edges(root);
    problems.extend(sources(root));
    if problems.is_empty() {
        println!("tidy: edges, module docs and files are as they should be");
        Ok(())
    } else {
        Err(problems)
    }
}

fn edges(root: &Path) -> Vec<String> {
    let metadata = match MetadataCommand::new().current_dir(root).no_deps().exec() {
        Ok(metadata) => metadata,
        Err(error) => return vec![format!("tidy: cargo metadata failed: {error}")],
    };
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let mut problems = Vec::new();
    for package in &metadata.packages {
        let Some(may) = allowed.get(package.name.as_str()) else {
            problems.push(format!(
                "tidy: package {} has no row in the table of edges",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if allowed.contains_key(name) && !may.contains(&name) {
                problems.push(format!("tidy: {} must not use {name}", package.name));
            }
        }
    }
    problems
}

fn sources(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for (package, _) in EDGES {
        let files = WalkDir::new(root.join(package))
            .sort_by_file_name()
            .into_iter()
            .flatten();
        let rust: Vec<_> = files
            .filter(|file| file.path().extension().is_some_and(|end| end == "rs"))
            .collect();
        let texts: Vec<String> = rust
            .iter()
            .map(|file| std::fs::read_to_string(file.path()).unwrap_or_default())
            .collect();
        for (file, text) in rust.iter().zip(&texts) {
            let shown = file
                .path()
                .strip_prefix(root)
                .unwrap_or(file.path())
                .display();
            if !text
                .lines()
                .find(|line| !line.trim().is_empty())
                .is_some_and(is_module_doc)
            {
                problems.push(format!(
                    "tidy: {shown} does not begin with a module doc (//! …)"
                ));
            }
            if !is_root(file.path(), root) && !is_declared(file.path(), &texts) {
                problems.push(format!("tidy: {shown} is declared by no module"));
            }
        }
    }
    problems
}

fn is_module_doc(line: &str) -> bool {
    line.starts_with("//!")
}

/// Says whether cargo finds this file by itself: a library, a program, a bench or a test of its own.
fn is_root(path: &Path, root: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let folder = path
        .parent()
        .and_then(|dir| dir.file_name())
        .and_then(|dir| dir.to_str());
    let in_package = path.parent().and_then(Path::parent).and_then(Path::parent) == Some(root);
    ["lib.rs", "main.rs", "build.rs"].contains(&name)
        || folder == Some("bin")
        || in_package && matches!(folder, Some("tests" | "benches" | "examples"))
}

fn is_declared(path: &Path, texts: &[String]) -> bool {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let module = if stem == "mod" {
        path.parent()
            .and_then(Path::file_name)
            .and_then(|dir| dir.to_str())
            .unwrap_or_default()
    } else {
        stem
    };
    let declaration = format!("mod {module};");
    texts.iter().any(|text| {
        text.lines().any(|line| {
            let line = line.trim_start();
            line.ends_with(&declaration) && (line.starts_with("mod ") || line.starts_with("pub"))
        })
    })
}
