//! [`MemoryLimit`]: how much memory this process may take, and who says so.
//!
//! The kernel ends a process that takes more than its control group has, at once and with all that it holds. So
//! the limit is looked for before anything runs, and what buffers and batches may hold follows from it
//! (`topology/memory.rs`).

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;

/// A number of bytes, as users write it: `268435456`, `256M`, `1G`. The units are powers of 1024, as Docker's and
/// systemd's are; `MB` and `MiB` mean the same as `M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub struct ByteSize(pub usize);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected bytes, as a number or as a text such as 256M or 1G")]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for ByteSize {
    type Error = String;

    fn try_from(either: NumberOrText) -> Result<ByteSize, String> {
        match either {
            NumberOrText::Number(number) => ByteSize::try_from(number),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

impl TryFrom<u64> for ByteSize {
    type Error = String;

    fn try_from(number: u64) -> Result<ByteSize, String> {
        let bytes =
            usize::try_from(number).map_err(|_| format!("{number} bytes are more than there can be"))?;
        Ok(ByteSize(bytes))
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim_start().to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            _ => return Err(not_a_size(text)),
        };
        let number: u64 = number.parse().map_err(|_| not_a_size(text))?;
        ByteSize::try_from(number.checked_mul(1 << shift).ok_or_else(|| not_a_size(text))?)
    }
}

fn not_a_size(text: &str) -> String {
    format!("`{text}` is no size; expected bytes, such as 268435456, 256M or 1G")
}

/// In MiB, which is what people think in here.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A unit that was forgotten is seen.
        if self.0 < 1 << 20 {
            return write!(f, "{} bytes", self.0);
        }
        let tenths = self.0 / ((1 << 20) / 10);
        match (tenths / 10, tenths % 10) {
            (whole, rest) if whole < 10 && rest > 0 => write!(f, "{whole}.{rest} MiB"),
            (whole, _) => write!(f, "{whole} MiB"),
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": "^\\s*[0-9]+\\s*([KMGTkmgt]?([iI]?[bB])?)\\s*$"}
            ]
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// How much memory the process may take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: usize,
    /// Who says so.
    pub origin: LimitOrigin,
}

/// Who sets a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitOrigin {
    /// The configuration's `memory_limit`.
    Option,
    /// The variable `MEMORY_LIMIT`.
    Variable,
    /// A control group, by the file that says so.
    Cgroup(PathBuf),
    /// The machine has no more.
    Machine,
}

impl fmt::Display for LimitOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitOrigin::Option => f.write_str("memory_limit"),
            LimitOrigin::Variable => f.write_str("MEMORY_LIMIT"),
            LimitOrigin::Cgroup(file) => write!(f, "{}", file.display()),
            LimitOrigin::Machine => f.write_str("the machine's memory"),
        }
    }
}

/// How much is read of a file: far more than any of these has.
const MOST_READ: u64 = 64 << 10;

/// How many groups above ours are asked.
const MOST_PARENTS: usize = 64;

/// The smallest of what our control groups and the machine have; nothing if neither can be found out, as on other
/// systems than Linux. `root` is `/`, but for tests. What cannot be read or understood sets no limit.
pub fn detect(root: &Path) -> Option<MemoryLimit> {
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let of_groups = groups.lines().filter_map(hierarchy).flat_map(|(mount, group, file)| {
        let group: PathBuf =
            Path::new(group).components().filter(|part| matches!(part, Component::Normal(_))).collect();
        // In a container, the path that we are told may be the one outside of it: the mounted root is then ours.
        let parents: Vec<PathBuf> =
            group.ancestors().take(MOST_PARENTS).map(|group| mount.join(group)).collect();
        parents.into_iter().chain([mount.to_owned()]).map(move |group| group.join(file))
    });
    let of_groups = of_groups.filter_map(|file| {
        let bytes = number(read(&root.join(&file))?.trim())?;
        Some(MemoryLimit { bytes, origin: LimitOrigin::Cgroup(Path::new("/").join(file)) })
    });
    let of_machine = kilobytes(&root.join("proc/meminfo"), "MemTotal:")
        .map(|bytes| MemoryLimit { bytes, origin: LimitOrigin::Machine });
    of_groups.chain(of_machine).min_by_key(|limit| limit.bytes)
}

/// How many bytes of memory this process takes now, if the system tells.
pub fn resident(root: &Path) -> Option<usize> {
    kilobytes(&root.join("proc/self/status"), "VmRSS:")
}

/// Where the groups of this line of `/proc/self/cgroup` are mounted, ours among them, and the file with the limit.
fn hierarchy(line: &str) -> Option<(&'static Path, &str, &'static str)> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
    if number == "0" && controllers.is_empty() {
        return Some((Path::new("sys/fs/cgroup"), group, "memory.max"));
    }
    let is_memory = controllers.split(',').any(|controller| controller == "memory");
    is_memory.then_some((Path::new("sys/fs/cgroup/memory"), group, "memory.limit_in_bytes"))
}

/// `max` and whatever else is no number are no limit.
fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|bytes| *bytes > 0)
}

/// A line `MemTotal:  24683144 kB`, in bytes.
fn kilobytes(file: &Path, name: &str) -> Option<usize> {
    let text = read(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    number(line.trim().strip_suffix("kB")?.trim())?.checked_mul(1024)
}

fn read(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MOST_READ).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: usize = 1 << 20;

    /// What is found in a tree of these files.
    fn detected(files: &[(&str, &str)]) -> Option<(usize, String)> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        detect(root.path()).map(|limit| (limit.bytes, limit.origin.to_string()))
    }

    #[test]
    fn the_smallest_limit_of_our_groups_and_the_machine_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:        1024 kB\nMemFree:  1 kB\n");
        let v2 = ("proc/self/cgroup", "0::/a/b.service\n");
        let v1 = ("proc/self/cgroup", "12:pids:/x\n4:cpu,memory:/docker/abc\n0::/unified\n");
        let machine = Some((M, "the machine's memory".to_owned()));
        let group = |bytes: usize, file: &str| Some((bytes, format!("/sys/fs/cgroup/{file}")));
        for (what, files, expected) in [
            ("nothing", &[][..], None),
            ("only a machine", &[meminfo], machine.clone()),
            (
                "v2, ours",
                &[meminfo, v2, ("sys/fs/cgroup/a/b.service/memory.max", "5000\n")],
                group(5000, "a/b.service/memory.max"),
            ),
            (
                "v2, a parent's is smaller",
                &[
                    meminfo,
                    v2,
                    ("sys/fs/cgroup/a/b.service/memory.max", "5000\n"),
                    ("sys/fs/cgroup/a/memory.max", "4000\n"),
                    ("sys/fs/cgroup/memory.max", "max\n"),
                ],
                group(4000, "a/memory.max"),
            ),
            (
                "v2, the mounted root is ours",
                &[meminfo, v2, ("sys/fs/cgroup/memory.max", "3000\n")],
                group(3000, "memory.max"),
            ),
            (
                "v2, no limit",
                &[meminfo, v2, ("sys/fs/cgroup/a/b.service/memory.max", "max\n")],
                machine.clone(),
            ),
            (
                "v2, the group's is more than the machine has",
                &[meminfo, v2, ("sys/fs/cgroup/a/memory.max", "99999999999\n")],
                machine.clone(),
            ),
            (
                "v2, not out of the tree",
                &[meminfo, ("proc/self/cgroup", "0::/../../a\n"), ("sys/fs/cgroup/a/memory.max", "77\n")],
                group(77, "a/memory.max"),
            ),
            (
                "v1, ours",
                &[meminfo, v1, ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "2000\n")],
                group(2000, "memory/docker/abc/memory.limit_in_bytes"),
            ),
            (
                "v1, the mounted root, and a limit that is none",
                &[
                    meminfo,
                    v1,
                    ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n"),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
                ],
                group(1000, "memory/memory.limit_in_bytes"),
            ),
            (
                "garbage",
                &[
                    ("proc/meminfo", "MemTotal: lots\n"),
                    ("proc/self/cgroup", "0\n::\n0::\nx:memory:/a\n"),
                    ("sys/fs/cgroup/memory.max", "-1\u{0}\n"),
                    ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "0"),
                ],
                None,
            ),
            (
                "more than a number can be",
                &[meminfo, v2, ("sys/fs/cgroup/memory.max", "99999999999999999999999999\n")],
                machine,
            ),
        ] {
            assert_eq!(detected(files), expected, "{what}");
        }
    }

    #[test]
    fn files_are_bounded() {
        let deep = format!("0::{}\n", "/x".repeat(20_000));
        let long = "9".repeat(1 << 20);
        let files =
            [("proc/self/cgroup", deep.as_str()), ("proc/meminfo", &long), ("sys/fs/cgroup/memory.max", "5")];
        assert_eq!(detected(&files), Some((5, "/sys/fs/cgroup/memory.max".to_owned())));
    }

    #[test]
    fn what_we_take_is_known() {
        let resident = resident(Path::new("/")).unwrap();
        assert!((M..64 << 30).contains(&resident), "{resident}");
        assert_eq!(super::resident(Path::new("/nowhere")), None);
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("1", Some(1)),
            ("200M", Some(200 * M)),
            ("200 MiB", Some(200 * M)),
            (" 200mb ", Some(200 * M)),
            ("64k", Some(64 << 10)),
            ("1G", Some(1 << 30)),
            ("2TB", Some(2 << 40)),
            ("", None),
            ("M", None),
            ("1.5G", None),
            ("-1", None),
            ("10X", None),
            ("99999999999999999999", None),
            ("99999999999T", None),
        ] {
            assert_eq!(text.parse::<ByteSize>().ok().map(|size| size.0), expected, "{text}");
        }
        assert!("10X".parse::<ByteSize>().unwrap_err().contains("256M"));
        for (bytes, expected) in
            [(5, "5 bytes"), (3 * M / 2, "1.5 MiB"), (3 * M, "3 MiB"), (200 * M + M / 2, "200 MiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), expected);
        }
    }
}
