//! Pages of Markdown as far as tests have to know them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A page, taken apart.
pub struct Page {
    pub path: PathBuf,
    pub blocks: Vec<Block>,
    pub links: Vec<Link>,
    /// What links to its headings end with.
    pub anchors: BTreeSet<String>,
    /// Files that mdBook puts into it.
    pub includes: Vec<String>,
}

/// A block of code between fences.
pub struct Block {
    pub line: usize,
    pub language: String,
    pub flags: Vec<String>,
    pub text: String,
    /// What the comment in front of it says after `skip:`.
    pub reason: Option<String>,
}

/// A link, and the line that it is on.
pub struct Link {
    pub line: usize,
    pub target: String,
}

impl Block {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with this extension below a directory, in order.
pub fn files_of(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_of(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

pub fn files(directory: &Path) -> Vec<PathBuf> {
    files_of(directory, "md")
}

/// The book's pages, the README, and what else there is for users.
pub fn pages() -> Vec<Page> {
    let mut paths = files(&root().join("docs/src"));
    let others = ["README.md", "SECURITY.md", "deploy/README.md", "examples/configs/README.md"];
    paths.extend(others.iter().map(|name| root().join(name)).filter(|path| path.is_file()));
    let parse = |path: PathBuf| Page::parse(&path, &std::fs::read_to_string(&path).unwrap());
    paths.into_iter().map(parse).collect()
}

impl Page {
    pub fn parse(path: &Path, text: &str) -> Page {
        let mut page = Page {
            path: path.to_owned(),
            blocks: Vec::new(),
            links: Vec::new(),
            anchors: BTreeSet::new(),
            includes: Vec::new(),
        };
        let mut open: Option<(Block, usize)> = None;
        let mut reason = None;
        for (index, line) in text.lines().enumerate() {
            let trimmed = line.trim_start();
            if let Some((block, indent)) = &mut open {
                if trimmed.starts_with("```") {
                    let (block, _) = open.take().unwrap();
                    page.blocks.push(block);
                } else {
                    let line = line.get(*indent..).unwrap_or(trimmed);
                    if let Some(include) = line.strip_prefix("{{#include ") {
                        page.includes.push(include.trim_end_matches("}}").to_owned());
                    }
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                continue;
            }
            if let Some(info) = trimmed.strip_prefix("```") {
                let mut words = info.split(',').map(str::trim);
                let language = words.next().unwrap_or_default().to_owned();
                let flags = words.map(str::to_owned).collect();
                let block =
                    Block { line: index + 1, language, flags, text: String::new(), reason: reason.take() };
                open = Some((block, line.len() - trimmed.len()));
                continue;
            }
            if let Some(why) = trimmed.strip_prefix("<!-- skip:") {
                reason = Some(why.trim_end_matches("-->").trim().to_owned()).filter(|why| !why.is_empty());
                continue;
            }
            if let Some(include) = line.strip_prefix("{{#include ") {
                page.includes.push(include.trim_end_matches("}}").to_owned());
            }
            if !trimmed.is_empty() {
                reason = None;
            }
            if line.starts_with('#') {
                page.anchors.insert(anchor(line.trim_start_matches('#').trim()));
            }
            page.add_links(index + 1, line);
        }
        assert!(open.is_none(), "{}: a fence is not closed", path.display());
        page
    }

    fn add_links(&mut self, number: usize, line: &str) {
        let mut rest = line;
        while let Some(at) = rest.find("](") {
            let is_image = rest[..at].rfind('[').is_some_and(|open| rest[..open].ends_with('!'));
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { return };
            if !is_image {
                self.links.push(Link { line: number, target: rest[..end].to_owned() });
            }
        }
    }
}

/// What mdBook and GitHub make of a heading: small letters, digits, `-` and `_`, and `-` for spaces.
fn anchor(heading: &str) -> String {
    let heading = heading.to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
