//! The files of a configuration: those that the command line names, with `*` in their paths, and directories.

use super::connect::glob;
use super::{Format, Problem};
use crate::files::read_text;
use std::path::{Path, PathBuf};

/// The longest file of a configuration, in bytes.
const MAX_FILE: usize = 16 << 20;

/// A text of a configuration.
#[derive(Clone)]
#[non_exhaustive]
pub struct ConfigFile {
    /// Its name in messages.
    pub name: String,
    /// What is in it.
    pub text: String,
    /// Its format.
    pub format: Format,
    /// If it holds a single component, without the tables around it: the table of its kind, and its id.
    pub component: Option<(&'static str, String)>,
}

impl ConfigFile {
    /// A text of the format that the extension of its name tells; TOML if it tells none.
    pub fn new(name: &str, text: &str) -> ConfigFile {
        let format = Format::of_name(name).unwrap_or_default();
        ConfigFile { name: name.to_owned(), text: text.to_owned(), format, component: None }
    }

    /// Reads the files at these paths, in which `*` stands for any characters of one name, and those of
    /// these directories: see `--config-dir`. What could be read comes with what could not.
    pub fn read(paths: &[PathBuf], directories: &[PathBuf]) -> (Vec<ConfigFile>, Vec<Problem>) {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for path in paths {
            let found = expand(path);
            if found.is_empty() {
                problems.push(unreadable(path, "no file fits it"));
            }
            for path in found {
                if !files.iter().any(|file: &ConfigFile| Path::new(&file.name) == path) {
                    read_file(&path, None, &mut files, &mut problems);
                }
            }
        }
        for directory in directories {
            ConfigFile::read_directory(directory, &mut files, &mut problems);
        }
        // A directory may be empty beside others: fly-log-shipper's is, as long as no destination is switched on.
        if files.is_empty() && problems.is_empty() {
            let empty =
                |directory: &PathBuf| unreadable(directory, "no .toml, .yaml, .yml or .json file in it");
            problems.extend(directories.iter().map(empty));
        }
        (files, problems)
    }

    /// Reads a directory as Vector does: every `.toml`, `.yaml`, `.yml` and `.json` file, in order of their
    /// names, hidden ones aside; and in its folders `sources`, `transforms`, `sinks` and `tests` files with
    /// one component each, whose id is the file's name.
    fn read_directory(directory: &Path, files: &mut Vec<ConfigFile>, problems: &mut Vec<Problem>) {
        let entries = match list(directory) {
            Ok(entries) => entries,
            Err(error) => return problems.push(unreadable(directory, &error.to_string())),
        };
        for path in entries {
            if !path.is_dir() {
                read_file_of_directory(&path, None, files, problems);
                continue;
            }
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let kind = ["sources", "transforms", "sinks", "tests"].into_iter().find(|kind| *kind == name);
            if let (None, "enrichment_tables") = (kind, name) {
                problems.push(unreadable(&path, "enrichment tables are not supported; remove the folder"));
            }
            let Some(kind) = kind else { continue };
            match list(&path) {
                Ok(components) => {
                    for path in components.iter().filter(|path| !path.is_dir()) {
                        read_file_of_directory(path, Some(kind), files, problems);
                    }
                }
                Err(error) => problems.push(unreadable(&path, &error.to_string())),
            }
        }
    }
}

/// Its text may hold secrets.
impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigFile")
            .field("name", &self.name)
            .field("format", &self.format)
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}

fn read_file_of_directory(
    path: &Path,
    kind: Option<&'static str>,
    files: &mut Vec<ConfigFile>,
    problems: &mut Vec<Problem>,
) {
    if Format::of_name(&path.display().to_string()).is_some() {
        read_file(path, kind, files, problems);
    }
}

fn read_file(
    path: &Path,
    kind: Option<&'static str>,
    files: &mut Vec<ConfigFile>,
    problems: &mut Vec<Problem>,
) {
    match read_text(path, MAX_FILE) {
        Ok(text) => {
            let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let component = kind.zip(id);
            files.push(ConfigFile { component, ..ConfigFile::new(&path.display().to_string(), &text) });
        }
        Err(error) => problems.push(unreadable(path, &error.to_string())),
    }
}

/// How the problem of a file begins that cannot be read.
pub(crate) const UNREADABLE: &str = "cannot be read: ";

fn unreadable(path: &Path, why: &str) -> Problem {
    Problem { file: Some(path.display().to_string()), ..Problem::new(format!("{UNREADABLE}{why}")) }
}

/// What is in a directory, in order, but hidden files.
fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The paths that fit a pattern, in order; a path without a `*` is itself, there or not.
pub(crate) fn expand(pattern: &Path) -> Vec<PathBuf> {
    let is_pattern = |part: &str| part.contains('*');
    let Some(text) = pattern.to_str().filter(|text| is_pattern(text)) else {
        return vec![pattern.to_owned()];
    };
    // A file may be called so.
    if pattern.exists() {
        return vec![pattern.to_owned()];
    }
    let mut found = vec![PathBuf::new()];
    for part in Path::new(text).components() {
        let name = part.as_os_str().to_str().unwrap_or_default();
        if !is_pattern(name) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let fits = |path: &PathBuf| {
            path.file_name().and_then(|file| file.to_str()).is_some_and(|file| glob(name, file))
        };
        let here =
            |path: &PathBuf| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.clone() };
        let inside = |path: &PathBuf| {
            let names = list(&here(path)).unwrap_or_default().into_iter().filter(&fits);
            names.filter_map(|entry| Some(path.join(entry.file_name()?))).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(inside).collect();
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path, paths: &[&str], directories: &[&str]) -> (Vec<String>, Vec<String>) {
        let full = |paths: &[&str]| paths.iter().map(|path| dir.join(path)).collect::<Vec<_>>();
        let (files, problems) = ConfigFile::read(&full(paths), &full(directories));
        let short = |name: &str| name.replace(&format!("{}/", dir.display()), "");
        let name = |file: &ConfigFile| match &file.component {
            Some((kind, id)) => format!("{} = {kind}.{id}", short(&file.name)),
            None => short(&file.name),
        };
        (
            files.iter().map(name).collect(),
            problems.iter().map(|problem| short(&problem.to_string())).collect(),
        )
    }

    #[test]
    fn reads_what_fits_in_order() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        for path in [
            "b.toml",
            "a.yaml",
            "c.json",
            ".hidden.toml",
            "notes.txt",
            "d.yml",
            "sinks/out.toml",
            "sinks/.x.toml",
            "sources/in.json",
            "sinks/readme",
            "tests/one.yaml",
            "other/x.toml",
            "sinks/deep/y.toml",
        ] {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let (files, problems) = read(dir, &[], &[""]);
        let expected = [
            "a.yaml",
            "b.toml",
            "c.json",
            "d.yml",
            "sinks/out.toml = sinks.out",
            "sources/in.json = sources.in",
            "tests/one.yaml = tests.one",
        ];
        assert_eq!(files, expected);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(read(dir, &["*.toml", "b.toml"], &[]).0, ["b.toml"]);
        assert_eq!(read(dir, &["*/*.toml"], &[]).0, ["other/x.toml", "sinks/out.toml"]);
        assert_eq!(read(dir, &["notes.txt"], &[]).0, ["notes.txt"]);
        let (_, problems) = read(dir, &["none.toml", "x*.toml"], &["nowhere", "sinks/deep/none", "other"]);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[1].contains("x*.toml: cannot be read: no file fits it"), "{problems:?}");
        std::fs::create_dir(dir.join("empty")).unwrap();
        assert_eq!(read(dir, &["b.toml"], &["empty"]), (vec!["b.toml".to_owned()], vec![]));
        let (_, problems) = read(dir, &[], &["empty"]);
        assert_eq!(problems, ["empty: cannot be read: no .toml, .yaml, .yml or .json file in it"]);
    }
}
