//! Compression of a request's body: Vector's `compression` option.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use snafu::Snafu;

/// An algorithm and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "CompressionOption")]
#[schemars(with = "CompressionOption")]
pub struct Compression {
    /// How.
    pub algorithm: Algorithm,
    /// How hard; `None` is ours: [`DEFLATE_LEVEL`] for gzip and zlib, 3 for zstd.
    pub level: Option<u32>,
}

/// libdeflate's level for gzip and zlib where the user sets none. What zlib makes of Fly's logs at its
/// level 6, which is Vector's default, is a ninth smaller and takes four times the CPU; our level 6 takes
/// twice the CPU of this one, and is a little smaller than zlib's (`BENCHMARKS.md`).
pub const DEFLATE_LEVEL: u32 = 1;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Algorithm {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, which HTTP calls `deflate`.
    Zlib,
    /// RFC 8878.
    Zstd,
    /// One raw block of snappy, without its frames.
    Snappy,
}

#[derive(Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected one of none, gzip, zlib, zstd, snappy, or a table with `algorithm` and `level`"
)]
enum CompressionOption {
    Name(Algorithm),
    Table(CompressionTable),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompressionTable {
    /// How.
    algorithm: Algorithm,
    /// How hard: 0 to 9 for gzip and zlib (1 by default), 0 to 21 for zstd (3 by default).
    level: Option<Level>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a level: a number, or one of none, fast, default, best")]
enum Level {
    Number(u32),
    Name(LevelName),
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LevelName {
    None,
    Fast,
    Default,
    Best,
}

/// A body could not be compressed.
#[derive(Debug, Snafu)]
#[snafu(display("the body cannot be compressed: {reason}"))]
pub struct CompressError {
    reason: String,
}

impl From<Algorithm> for Compression {
    fn from(algorithm: Algorithm) -> Compression {
        Compression { algorithm, level: None }
    }
}

/// As the algorithm, which is all that any default has.
impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.algorithm.serialize(serializer)
    }
}

impl TryFrom<CompressionOption> for Compression {
    type Error = String;

    fn try_from(option: CompressionOption) -> Result<Compression, String> {
        let table = match option {
            CompressionOption::Name(algorithm) => return Ok(algorithm.into()),
            CompressionOption::Table(table) => table,
        };
        let algorithm = table.algorithm;
        let (best, name) = match algorithm {
            Algorithm::Gzip => (9, "gzip"),
            Algorithm::Zlib => (9, "zlib"),
            Algorithm::Zstd => (21, "zstd"),
            Algorithm::None | Algorithm::Snappy => {
                return match table.level {
                    None => Ok(algorithm.into()),
                    Some(_) => Err("compression.level: none and snappy have no levels; leave it out".into()),
                };
            }
        };
        let level = match table.level {
            None | Some(Level::Name(LevelName::Default)) => None,
            Some(Level::Name(LevelName::None)) => Some(0),
            Some(Level::Name(LevelName::Fast)) => Some(1),
            Some(Level::Name(LevelName::Best)) => Some(best),
            Some(Level::Number(level)) if level <= best => Some(level),
            Some(Level::Number(level)) => {
                return Err(format!(
                    "compression.level: {level} is too high for {name}; expected 0 to {best}"
                ));
            }
        };
        Ok(Compression { algorithm, level })
    }
}

impl Compression {
    /// The `Content-Encoding` of what [`Compression::compress`] makes.
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self.algorithm {
            Algorithm::None => None,
            Algorithm::Gzip => Some("gzip"),
            Algorithm::Zlib => Some("deflate"),
            Algorithm::Zstd => Some("zstd"),
            Algorithm::Snappy => Some("snappy"),
        }
    }

    /// Compresses a whole body.
    ///
    /// # Errors
    /// If the library refuses it; none of them does for a body that fits into memory.
    pub fn compress(self, body: Bytes) -> Result<Bytes, CompressError> {
        let failed = |reason: String| CompressError { reason };
        Ok(match self.algorithm {
            Algorithm::None => body,
            Algorithm::Gzip | Algorithm::Zlib => {
                self.deflate(&body).map_err(|error| failed(error.to_string()))?.into()
            }
            Algorithm::Zstd => {
                let level = self.level.map_or(3, |level| i32::try_from(level).unwrap_or(3));
                zstd::bulk::compress(&body, level).map_err(|error| failed(error.to_string()))?.into()
            }
            Algorithm::Snappy => snap::raw::Encoder::new()
                .compress_vec(&body)
                .map_err(|error| failed(error.to_string()))?
                .into(),
        })
    }

    /// libdeflate compresses a whole buffer at once, two to three times faster than zlib does it in a
    /// stream.
    fn deflate(self, body: &[u8]) -> Result<Vec<u8>, libdeflater::CompressionError> {
        let level = i32::try_from(self.level.unwrap_or(DEFLATE_LEVEL)).unwrap_or_default();
        let level = libdeflater::CompressionLvl::new(level).unwrap_or_default();
        let mut compressor = libdeflater::Compressor::new(level);
        let is_gzip = self.algorithm == Algorithm::Gzip;
        let bound = match is_gzip {
            true => compressor.gzip_compress_bound(body.len()),
            false => compressor.zlib_compress_bound(body.len()),
        };
        let mut out = vec![0; bound];
        let written = match is_gzip {
            true => compressor.gzip_compress(body, &mut out)?,
            false => compressor.zlib_compress(body, &mut out)?,
        };
        out.truncate(written);
        out.shrink_to_fit();
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn parse(text: &str) -> Result<Compression, String> {
        #[derive(Deserialize)]
        struct Options {
            compression: Compression,
        }
        toml::from_str::<Options>(text)
            .map(|options| options.compression)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn reads_vectors_forms() {
        let level = |algorithm, level| Ok(Compression { algorithm, level });
        assert_eq!(parse("compression = 'gzip'"), level(Algorithm::Gzip, None));
        assert_eq!(
            parse("compression = {algorithm = 'zstd', level = 'best'}"),
            level(Algorithm::Zstd, Some(21))
        );
        assert_eq!(parse("compression = {algorithm = 'zlib', level = 0}"), level(Algorithm::Zlib, Some(0)));
        assert_eq!(
            parse("compression = {algorithm = 'gzip', level = 'default'}"),
            level(Algorithm::Gzip, None)
        );
        assert!(parse("compression = 'brotli'").unwrap_err().contains("none, gzip, zlib, zstd, snappy"));
        assert!(parse("compression = {algorithm = 'gzip', level = 10}").unwrap_err().contains("0 to 9"));
        assert!(parse("compression = {algorithm = 'snappy', level = 1}").unwrap_err().contains("no levels"));
    }

    #[test]
    fn every_algorithm_gives_back_what_it_took() {
        let body: Vec<u8> =
            (0..20_000u32).flat_map(|n| format!("{{\"n\":{}}},", n % 97).into_bytes()).collect();
        for algorithm in
            [Algorithm::None, Algorithm::Gzip, Algorithm::Zlib, Algorithm::Zstd, Algorithm::Snappy]
        {
            for level in [None, Some(0), Some(1), Some(9)] {
                let compression = Compression { algorithm, level };
                for body in [&body[..], b""] {
                    let packed = compression.compress(Bytes::copy_from_slice(body)).unwrap();
                    let mut unpacked = Vec::new();
                    match algorithm {
                        Algorithm::None => unpacked.extend_from_slice(&packed),
                        Algorithm::Gzip => {
                            flate2::read::GzDecoder::new(&packed[..])
                                .read_to_end(&mut unpacked)
                                .map(drop)
                                .unwrap();
                        }
                        Algorithm::Zlib => {
                            flate2::read::ZlibDecoder::new(&packed[..])
                                .read_to_end(&mut unpacked)
                                .map(drop)
                                .unwrap();
                        }
                        Algorithm::Zstd => unpacked = zstd::decode_all(&packed[..]).unwrap(),
                        Algorithm::Snappy => {
                            unpacked = snap::raw::Decoder::new().decompress_vec(&packed).unwrap()
                        }
                    }
                    assert!(unpacked == body, "{compression:?}");
                }
            }
        }
    }
}
