//! `aws_s3`: objects in a bucket of S3, or of a service with its protocol: Tigris, R2, Wasabi, MinIO.
//!
//! `place`: where a bucket is, and the form of keys.
//!
//! Source: docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html

mod place;

use super::codec::{Codec, EncodeError, EncodingConfig, Framing, FramingConfig};
use super::compression::{Algorithm, Compression};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, Signer};
use super::{Batch, BatchLimits, Partition, Verdict};
use crate::aws::{self, AwsAuth, AwsError, Endpoint};
use crate::config::{Result, SinkContext};
use crate::env::Env;
use crate::event::LogEvent;
use crate::healthcheck::Unhealthy;
use crate::http::HttpClient;
use crate::template::Template;
use crate::uuid::uuid_v4;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use percent_encoding::utf8_percent_encode;
use place::{Place, UNRESERVED, check_key, check_prefix};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Stores each batch of events as an object.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsS3 {
    /// The bucket.
    bucket: String,
    /// How the keys of objects begin, rendered with each event's own time; an object has events of one
    /// beginning only. Ends with a `/` to be a folder. Default: `date=%F`.
    #[serde(default = "default_key_prefix")]
    #[schemars(default = "key_prefix")]
    key_prefix: Option<Template>,
    /// What follows in the key: the time of the object's first event, in this form. (Vector takes the time of
    /// sending.) Default: `%s`, seconds since the epoch, by which objects sort.
    #[serde(default = "default_filename_time_format")]
    #[schemars(default = "filename_time_format")]
    filename_time_format: Option<Template>,
    /// Whether a UUID follows, after a `-`. Without it, an object that begins in the same second as
    /// another one takes its place. Default: true.
    #[serde(default = "default_true")]
    filename_append_uuid: bool,
    /// How the keys end, after a dot. Default: by the compression, such as `log.gz`.
    filename_extension: Option<String>,
    /// How an event is written.
    encoding: EncodingConfig,
    /// How events are joined. Default: a JSON array for `json`, lines for anything else.
    framing: Option<FramingConfig>,
    /// The region. Default: as AWS's tools find it.
    region: Option<String>,
    /// Where the service is. Default: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, else AWS's own in the
    /// region.
    endpoint: Option<String>,
    /// Who we are.
    #[serde(default)]
    auth: AwsAuth,
    /// Whether the bucket stands in the path of a URI, and not in its host. Default: in the host where the
    /// endpoint is AWS's or Tigris's, whose new buckets are found there alone, and in the path elsewhere.
    /// (Vector's default is the path everywhere.)
    force_path_style: Option<bool>,
    /// Who may do what with the objects, in a word.
    acl: Option<String>,
    /// Who may do everything.
    grant_full_control: Option<String>,
    /// Who may read.
    grant_read: Option<String>,
    /// Who may read the permissions.
    grant_read_acp: Option<String>,
    /// Who may write the permissions.
    grant_write_acp: Option<String>,
    /// How the objects are encrypted where they are stored.
    server_side_encryption: Option<String>,
    /// The key for `aws:kms`.
    ssekms_key_id: Option<Template>,
    /// How they are stored. Default: as the bucket says. (Vector always sends `STANDARD`, which some other
    /// services than AWS refuse.)
    storage_class: Option<String>,
    /// Tags of the objects.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Their `Content-Encoding`. Default: by the compression.
    content_encoding: Option<String>,
    /// Their `Content-Type`. Default: `application/x-ndjson` for lines of JSON, `application/json` for an
    /// array, else `text/plain`. (Vector says `text/x-log` of all, by which no tool knows what is inside.)
    content_type: Option<String>,
    /// The headers of all objects.
    #[serde(skip)]
    headers: HeaderMap,
    /// Where the objects go, and the region.
    #[serde(skip)]
    found: Option<(Place, String)>,
}

const fn key_prefix() -> &'static str {
    "date=%F"
}

fn default_key_prefix() -> Option<Template> {
    Template::parse(key_prefix()).ok()
}

const fn filename_time_format() -> &'static str {
    "%s"
}

fn default_filename_time_format() -> Option<Template> {
    Template::parse(filename_time_format()).ok()
}

const fn default_true() -> bool {
    true
}

const ACLS: &[&str] = &[
    "private",
    "public-read",
    "public-read-write",
    "aws-exec-read",
    "authenticated-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
];

const ENCRYPTIONS: &[&str] = &["AES256", "aws:kms"];

const STORAGE_CLASSES: &[&str] = &[
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "INTELLIGENT_TIERING",
    "STANDARD_IA",
    "EXPRESS_ONEZONE",
    "ONEZONE_IA",
    "GLACIER",
    "GLACIER_IR",
    "DEEP_ARCHIVE",
];

const KMS_KEY_ID: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");

impl HttpSink for AwsS3 {
    const NAME: &'static str = "aws_s3";
    const SUMMARY: &'static str = "Store events as objects in S3, Tigris, R2 and the like.";
    const EXAMPLE: &'static str = "bucket = \"logs\"\nregion = \"eu-west-1\"\nauth.access_key_id = \"ID\"\nauth.secret_access_key = \"KEY\"\nkey_prefix = \"fly/{{ fly.app.name }}/%F/\"\nencoding.codec = \"json\"\nframing.method = \"newline_delimited\"";
    const NOTES: &'static str = "- An object has at most 10,000,000 bytes, uncompressed, and is stored after 300 s at the latest. All \
        open objects together have 32 MiB; beyond that the largest is stored first.\n\
        - Errors have names: a skewed clock, an expired token or `SlowDown` come again with a new signature; \
        a wrong region or key is held.";

    const RENAMED: &'static [(&'static str, &'static str)] = &[("assume_role", "auth.assume_role")];

    fn configure(&mut self, options: &mut HttpOptions) -> Result<()> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if self.bucket.len() < 3 || !self.bucket.bytes().all(is_plain) {
            return Err(format!(
                "bucket: `{}` is not the name of one; expected at least three letters, digits, `-`, `.` or `_` (for \
                 an access point, its alias)",
                self.bucket
            )
            .into());
        }
        self.auth.check()?;
        for (option, template) in
            [("key_prefix", &mut self.key_prefix), ("ssekms_key_id", &mut self.ssekms_key_id)]
        {
            template.iter_mut().for_each(|template| options.confine(option, template));
        }
        if let Some(endpoint) = &self.endpoint {
            Place::new(Endpoint::parse("endpoint", endpoint)?, &self.bucket, self.force_path_style)?;
        }
        if self.filename_time_format.iter().any(|format| format.paths().next().is_some()) {
            return Err("filename_time_format: it has a field in it; put that into key_prefix".into());
        }
        if let Some(prefix) = self.key_prefix.as_ref().and_then(Template::as_static) {
            check_prefix(prefix).map_err(|error| format!("key_prefix: {error}"))?;
        }
        if self.ssekms_key_id.is_some() && self.server_side_encryption.as_deref() != Some("aws:kms") {
            return Err("ssekms_key_id: the key is for `aws:kms`; set server_side_encryption to that".into());
        }
        if self.tags.len() > 10 {
            return Err("tags: there are more than the ten that S3 takes".into());
        }
        self.headers = self.constant_headers()?;
        let compression = options.compression.unwrap_or_else(|| self.compression());
        self.filename_extension.get_or_insert_with(|| extension(compression.algorithm).to_owned());
        Ok(())
    }

    fn in_environment(&self, env: &Env) -> Result<Option<AwsS3>> {
        let region = aws::region(self.region.as_deref(), &self.auth, env)?;
        let variables = ["AWS_ENDPOINT_URL_S3"];
        let endpoint = aws::endpoint(self.endpoint.as_deref(), &variables, "s3", &region, env)?;
        let place = Place::new(endpoint, &self.bucket, self.force_path_style)?;
        Ok(Some(AwsS3 { found: Some((place, region)), ..self.clone() }))
    }

    fn signer(&self, cx: &SinkContext, client: &HttpClient) -> Result<Option<Arc<dyn Signer>>> {
        let (_, region) = self.found()?;
        let signer = self.auth.signer("s3", region, &cx.env, client)?;
        // One checksum and no more: R2 refuses a second one, and this is the one that buckets with a lock on
        // their objects ask for, and that every service knows.
        Ok(Some(Arc::new(signer.with_content_md5())))
    }

    /// As Vector: 10 MB before compression, five minutes.
    fn limits(&self) -> BatchLimits {
        BatchLimits { timeout: Duration::from_secs(300), ..BatchLimits::DEFAULT }
    }

    fn compression(&self) -> Compression {
        Algorithm::Gzip.into()
    }

    /// The last line has an end too, so that objects can be put together.
    fn framing(&self) -> Framing {
        match &self.framing {
            _ if self.is_array() => Framing::JSON_ARRAY,
            None | Some(FramingConfig::NewlineDelimited) => Framing::NEWLINE_DELIMITED,
            Some(FramingConfig::Bytes) => Framing::CONCATENATED,
            Some(FramingConfig::CharacterDelimited(delimiter)) => {
                Framing { separator: vec![*delimiter].into(), ..Framing::CONCATENATED }
            }
        }
    }

    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        let failed = |option: &str, reason: &dyn std::fmt::Display| EncodeError {
            reason: format!("{option}: {reason}"),
        };
        let mut partition = Partition::new();
        for (option, template) in self.templates().filter(|(_, template)| template.as_static().is_none()) {
            let text = template.render(event).map_err(|error| failed(option, &error))?;
            if option == "key_prefix" {
                check_prefix(&text).map_err(|error| failed(option, &error))?;
            }
            partition.push(text);
        }
        Ok(partition)
    }

    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encoding.encode(event, out);
        Ok(())
    }

    fn request(&self, batch: &Batch) -> Result<http::request::Builder> {
        let (place, _) = self.found()?;
        let mut dynamic = batch.partition().iter();
        let mut rendered = self.templates().map(|(_, template)| {
            template.as_static().or_else(|| dynamic.next().map(String::as_str)).unwrap_or_default()
        });
        let key = self.key(rendered.next().unwrap_or_default(), batch)?;
        let mut builder = Request::put(place.uri(&key));
        if let Some(headers) = builder.headers_mut() {
            headers.clone_from(&self.headers);
            if let Some(key_id) = rendered.next() {
                headers.insert(KMS_KEY_ID, HeaderValue::from_str(key_id)?);
            }
        }
        Ok(builder)
    }

    /// S3 gives its errors names, of which some say otherwise than their status.
    ///
    /// Source: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    fn verdict(&self, response: &Response<Bytes>, _batch: &Batch) -> Verdict {
        if response.status().is_success() {
            return Verdict::Delivered;
        }
        let error = AwsError::of(response);
        match error.code.as_str() {
            // The next attempt has a new signature, with a new time and perhaps with new credentials.
            "ExpiredToken" | "RequestExpired" | "RequestTimeTooSkewed" | "TokenRefreshRequired" |
            // The body came too slowly, or something else was changed at the same time.
            "RequestTimeout" | "OperationAborted" | "SlowDown" |
            // It was damaged on its way.
            "IncompleteBody" | "BadDigest" | "XAmzContentSHA256Mismatch" => Verdict::Retry { after: None },
            // A wrong region, a token of others, a key for encryption that is switched off: a person can mend it.
            "AuthorizationHeaderMalformed" | "InvalidToken" => Verdict::Unauthorized,
            code if code.starts_with("KMS.") => Verdict::Unauthorized,
            "EntityTooLarge" => Verdict::TooLarge,
            code => match Verdict::of_status(response) {
                Verdict::Rejected { .. } if !code.is_empty() => Verdict::Rejected { reason: error.to_string() },
                verdict => verdict,
            },
        }
    }

    /// Asks for the bucket itself.
    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let (place, _) = self.found()?;
        let request = Request::head(place.bucket_uri()).body(Bytes::new())?;
        Ok(Some(HealthcheckRequest::new(request, judge_bucket)))
    }
}

/// An answer to HEAD has no body that could say more.
fn judge_bucket(response: &Response<Bytes>) -> Result<(), Unhealthy> {
    let region = response.headers().get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
    let hint = match region {
        Some(region) if !response.status().is_success() => format!("; the bucket is in the region {region}"),
        _ => String::new(),
    };
    let reason = format!("status {}{hint}", response.status());
    match response.status().as_u16() {
        200..=299 => Ok(()),
        401 | 403 => Err(Unhealthy::Unauthorized { reason }),
        404 => Err(Unhealthy::NotFound { reason: format!("{reason}: no such bucket") }),
        // Some services answer so to the name of a wrong region.
        300..=400 => Err(Unhealthy::NotFound { reason }),
        _ => Err(Unhealthy::Down { reason: format!("the destination answers {reason}") }),
    }
}

impl AwsS3 {
    /// The headers that are the same for every object.
    fn constant_headers(&self) -> Result<HeaderMap> {
        let tags = self.tags.iter().map(|(name, value)| {
            format!("{}={}", utf8_percent_encode(name, UNRESERVED), utf8_percent_encode(value, UNRESERVED))
        });
        let tags = (!self.tags.is_empty()).then(|| tags.collect::<Vec<_>>().join("&"));
        let content_type = self.content_type.clone().unwrap_or_else(|| self.usual_content_type().to_owned());
        let mut headers = HeaderMap::new();
        for (option, name, value, choices) in [
            ("content_type", CONTENT_TYPE.as_str(), Some(&content_type), &[][..]),
            ("content_encoding", CONTENT_ENCODING.as_str(), self.content_encoding.as_ref(), &[]),
            ("acl", "x-amz-acl", self.acl.as_ref(), ACLS),
            ("grant_full_control", "x-amz-grant-full-control", self.grant_full_control.as_ref(), &[]),
            ("grant_read", "x-amz-grant-read", self.grant_read.as_ref(), &[]),
            ("grant_read_acp", "x-amz-grant-read-acp", self.grant_read_acp.as_ref(), &[]),
            ("grant_write_acp", "x-amz-grant-write-acp", self.grant_write_acp.as_ref(), &[]),
            (
                "server_side_encryption",
                "x-amz-server-side-encryption",
                self.server_side_encryption.as_ref(),
                ENCRYPTIONS,
            ),
            ("storage_class", "x-amz-storage-class", self.storage_class.as_ref(), STORAGE_CLASSES),
            ("tags", "x-amz-tagging", tags.as_ref(), &[]),
        ] {
            let Some(value) = value else { continue };
            if !choices.is_empty() && !choices.contains(&value.as_str()) {
                let choices = choices.join(", ");
                return Err(format!("{option}: `{value}` is unknown; expected one of {choices}").into());
            }
            let header = HeaderValue::from_str(value)
                .map_err(|_| format!("{option}: it has a character that no header can carry"))?;
            headers.insert(HeaderName::from_static(name), header);
        }
        Ok(headers)
    }

    fn is_array(&self) -> bool {
        let is_comma = matches!(self.framing, None | Some(FramingConfig::CharacterDelimited(b',')));
        is_comma && matches!(self.encoding.codec, Codec::Json { .. })
    }

    fn usual_content_type(&self) -> &'static str {
        match (&self.encoding.codec, &self.framing) {
            (Codec::Json { .. }, _) if self.is_array() => "application/json",
            (Codec::Json { pretty: false }, Some(FramingConfig::NewlineDelimited)) => "application/x-ndjson",
            _ => "text/plain",
        }
    }

    fn found(&self) -> Result<&(Place, String)> {
        self.found.as_ref().ok_or_else(|| "the environment has not been looked at".into())
    }

    /// What events of one object must agree on.
    fn templates(&self) -> impl Iterator<Item = (&'static str, &Template)> {
        let prefix = self.key_prefix.iter().map(|template| ("key_prefix", template));
        prefix.chain(self.ssekms_key_id.iter().map(|template| ("ssekms_key_id", template)))
    }

    /// Where an object goes. The same each time that this is asked for a batch, so that an attempt of which
    /// no answer has come is overwritten by the next one.
    fn key(&self, prefix: &str, batch: &Batch) -> Result<String> {
        let mut key = prefix.to_owned();
        if let Some(format) = &self.filename_time_format {
            key.push_str(&format.render_fields(&[], batch.time())?);
        }
        // Two parts of a batch that was too large are two objects.
        if self.filename_append_uuid || batch.is_part() {
            key.push('-');
            key.push_str(&uuid_v4(batch.id()));
        }
        if let Some(extension) = self.filename_extension.as_deref().filter(|extension| !extension.is_empty())
        {
            key.push('.');
            key.push_str(extension);
        }
        check_key(&key)?;
        Ok(key)
    }
}

/// As Vector's.
const fn extension(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::None => "log",
        Algorithm::Gzip => "log.gz",
        Algorithm::Zlib => "log.zz",
        Algorithm::Zstd => "log.zst",
        Algorithm::Snappy => "log.snappy",
    }
}
