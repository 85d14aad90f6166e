//! [`LogEvent`]: one log line on its way from a source to the sinks.
//!
//! - `json`: JSON as text: check, look up, write
//! - `level`: [`Level`]
//! - `path`: [`Path`], where a field is
//! - `semantics`: [`Field`], [`Semantics`], which field means what, [`Lookup`]
//! - `time`: [`Timestamp`]

pub mod json;
mod level;
mod path;
mod semantics;
mod time;

pub use level::Level;
pub use path::{Path, PathError, Segment};
pub use semantics::{Field, Lookup, Semantics};
pub use time::Timestamp;

pub(crate) use semantics::{LEVEL, TIME};

use crate::finalizer::EventFinalizers;
use bytes::Bytes;
use bytestring::ByteString;
use semantics::{APP, EVERYTHING, HOST, INSTANCE, KNOWN, Known, MESSAGE, REGION, fly_tokens};
use smallvec::SmallVec;
use std::borrow::Cow;
use vrl::value::{KeyString, Value};

/// Fields that were looked up together, in the order of their paths.
pub type Fields<'a> = SmallVec<[Option<Field<'a>>; FEW]>;

/// What there is beside an event's texts: in a block that was read, the words of the protocol; in memory of its own,
/// what the allocator and the reference count need.
const OVERHEAD: usize = 64;

/// What the allocator keeps for a piece of memory.
const ALLOCATION: usize = 16;

/// As many fields are found without an allocation.
const FEW: usize = 16;

/// One log event: a JSON object, kept as the text it came as until somebody changes it, with what is
/// known of its way here.
///
/// ```
/// use log_shipper::event::{Level, LogEvent};
///
/// let text = r#"{"message":"no","log":{"level":"warn"},"timestamp":"2026-01-02T03:04:05Z"}"#;
/// let event = LogEvent::from_json(text.into()).unwrap();
/// // The text that came is the text that goes on.
/// assert_eq!(event.json(), text);
/// // What a field means does not depend on its name.
/// assert_eq!(event.level(), Some(Level::Warn));
/// assert!(LogEvent::from_json("no JSON".into()).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct LogEvent {
    body: Body,
    subject: Option<ByteString>,
    received: Timestamp,
    /// What programs of VRL have put beside the event (`%name`); nothing, for most.
    metadata: Option<Box<Value>>,
    finalizers: EventFinalizers,
}

#[derive(Clone, Debug)]
enum Body {
    /// One JSON object that has passed [`json::is_object`].
    Raw(ByteString),
    /// An object; boxed, because most events never become one and travel by the thousand.
    Value(Box<Value>),
}

impl LogEvent {
    /// An event of this JSON text.
    ///
    /// # Errors
    /// Gives the bytes back if they are not one JSON object (see [`json::is_object`]).
    pub fn from_json(payload: Bytes) -> Result<LogEvent, Bytes> {
        LogEvent::from_json_at(payload, Timestamp::now())
    }

    /// The same for an event that was received at this time: whoever has many of them asks the clock once.
    ///
    /// # Errors
    /// As [`LogEvent::from_json`].
    pub fn from_json_at(payload: Bytes, received: Timestamp) -> Result<LogEvent, Bytes> {
        // The clone shares the bytes; it is what is given back.
        let text = ByteString::try_from(payload.clone()).map_err(|_| payload)?;
        LogEvent::from_json_text(text, received).map_err(ByteString::into_bytes)
    }

    /// The same for a payload that is known to be text.
    ///
    /// # Errors
    /// As [`LogEvent::from_json`].
    pub fn from_json_text(text: ByteString, received: Timestamp) -> Result<LogEvent, ByteString> {
        match json::is_object(&text) {
            true => Ok(LogEvent::new(Body::Raw(one_line(text)), received)),
            false => Err(text),
        }
    }

    /// The same for a text that has been an event's before.
    pub(crate) fn from_checked_text(text: ByteString, received: Timestamp) -> LogEvent {
        LogEvent::new(Body::Raw(text), received)
    }

    /// An event for a payload that is no JSON object: `{"message": payload, "fly": {...},
    /// "timestamp": received}`, with `fly` from a subject of the form
    /// `logs.<app>.<region>.<instance>`. Bytes that are not UTF-8 become U+FFFD.
    pub fn from_text(payload: &[u8], subject: Option<&str>, received: Timestamp) -> LogEvent {
        let mut out = Vec::with_capacity(payload.len() + 160);
        out.extend_from_slice(b"{\"message\":");
        json::write_string(&String::from_utf8_lossy(payload), &mut out);
        if let Some([app, region, instance]) = subject.and_then(fly_tokens) {
            out.extend_from_slice(b",\"fly\":{\"app\":{\"instance\":");
            json::write_string(instance, &mut out);
            out.extend_from_slice(b",\"name\":");
            json::write_string(app, &mut out);
            out.extend_from_slice(b"},\"region\":");
            json::write_string(region, &mut out);
            out.push(b'}');
        }
        out.extend_from_slice(b",\"timestamp\":\"");
        received.write_rfc3339(&mut out);
        out.extend_from_slice(b"\"}");
        let text = String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        LogEvent::new(Body::Raw(text.into()), received)
    }

    /// An event of this message, as a line of text gives one: `{"message": ..., "timestamp": received}`.
    pub fn from_message(message: &[u8], received: Timestamp) -> LogEvent {
        LogEvent::from_text(message, None, received)
    }

    /// An event of this object; anything but an object becomes its `message`.
    pub fn from_value(value: Value) -> LogEvent {
        LogEvent::new(Body::Value(Box::new(object(value))), Timestamp::now())
    }

    fn new(body: Body, received: Timestamp) -> LogEvent {
        LogEvent { body, subject: None, received, metadata: None, finalizers: EventFinalizers::default() }
    }

    /// The same event with the NATS subject it came on.
    pub fn with_subject(mut self, subject: ByteString) -> LogEvent {
        self.subject = Some(subject);
        self
    }

    /// The same event with the time at which it was received (the time of its making otherwise).
    pub fn with_received(mut self, received: Timestamp) -> LogEvent {
        self.received = received;
        self
    }

    /// Gives the event memory of its own: what came over the wire is a slice of all that was read together, and
    /// keeps the whole of it.
    pub fn detach(&mut self) {
        let (subject, text) = match &self.body {
            Body::Raw(text) => (self.subject(), &**text),
            Body::Value(_) => (self.subject(), ""),
        };
        let subject = subject.unwrap_or_default();
        // One piece of memory for both.
        let own = ByteString::from([subject, text].concat());
        let (subject, text) = own.split_at(subject.len());
        if let Body::Raw(old) = &mut self.body {
            *old = text;
        }
        if let Some(old) = &mut self.subject {
            *old = subject;
        }
    }

    /// Gives those that are kept memory of their own if more bytes of what was read together with them are left out;
    /// whether it did. Otherwise a few events would keep the whole of it.
    pub(crate) fn detach_few(kept: &mut [LogEvent], left_out: &[LogEvent]) -> bool {
        let bytes = |events: &[LogEvent]| -> usize { events.iter().map(LogEvent::body_size).sum() };
        let are_few = bytes(kept) < bytes(left_out);
        if are_few {
            kept.iter_mut().for_each(LogEvent::detach);
        }
        are_few
    }

    /// The same event with these finalizers added to its own.
    pub fn with_finalizers(mut self, finalizers: EventFinalizers) -> LogEvent {
        self.finalizers.merge(finalizers);
        self
    }

    /// A copy to be written somewhere, which owes no receipts: those stay with the event itself.
    pub fn without_receipts(&self) -> LogEvent {
        LogEvent {
            body: self.body.clone(),
            subject: self.subject.clone(),
            received: self.received,
            metadata: self.metadata.clone(),
            finalizers: EventFinalizers::default(),
        }
    }

    /// A copy to be written somewhere, with this text as its message.
    pub fn with_message(&self, text: &str) -> LogEvent {
        let mut event = self.without_receipts();
        match &mut event.body {
            Body::Value(value) => drop(value.insert(&Path::root_field("message").to_vrl(), text)),
            Body::Raw(body) => {
                let mut message = Vec::with_capacity(text.len() + 2);
                json::write_string(text, &mut message);
                let message = String::from_utf8_lossy(&message);
                let replaced =
                    |(key, value)| (key, if json::key_is(key, "message") { &*message } else { value });
                *body = join_members(json::members(body).map(replaced)).into();
            }
        }
        event
    }

    /// Adds these finalizers to the event's own.
    pub fn add_finalizers(&mut self, finalizers: EventFinalizers) {
        self.finalizers.merge(finalizers);
    }

    /// An event of this JSON text that came here in the same way, and owes no receipts.
    ///
    /// # Errors
    /// Gives the text back if it is not one JSON object (see [`json::is_object`]).
    pub fn with_json_text(&self, text: ByteString) -> Result<LogEvent, ByteString> {
        let event = LogEvent::from_json_text(text, self.received)?;
        Ok(LogEvent { subject: self.subject.clone(), metadata: self.metadata.clone(), ..event })
    }

    /// Takes the finalizers out: who does so answers them.
    pub fn take_finalizers(&mut self) -> EventFinalizers {
        std::mem::take(&mut self.finalizers)
    }

    /// The event as JSON text, without white space around it.
    pub fn json(&self) -> Cow<'_, str> {
        match &self.body {
            Body::Raw(text) => Cow::Borrowed(text.trim_ascii()),
            Body::Value(value) => Cow::Owned(value_json(value)),
        }
    }

    /// How many bytes the event holds in memory, about: the measure of buffers.
    pub fn size(&self) -> usize {
        let subject = self.subject.as_ref().map_or(0, |subject| subject.len());
        let metadata = self.metadata.as_deref().map_or(0, value_size);
        size_of::<LogEvent>() + OVERHEAD + subject + self.body_size() + metadata
    }

    /// How many bytes its text has, or about, what its tree holds.
    pub fn body_size(&self) -> usize {
        match &self.body {
            Body::Raw(text) => text.len(),
            Body::Value(value) => value_size(value),
        }
    }

    /// The field at this path.
    pub fn get(&self, path: &Path) -> Option<Field<'_>> {
        match &self.body {
            Body::Raw(text) => json::get(text, path).map(Field::Json),
            Body::Value(value) => get_in(value, path).map(Field::Value),
        }
    }

    /// The event itself, as text or as a tree.
    pub fn root(&self) -> Field<'_> {
        match &self.body {
            Body::Raw(text) => Field::Json(text),
            Body::Value(value) => Field::Value(value),
        }
    }

    /// The fields at the paths of a lookup, and when the event happened, found in one pass.
    pub fn look_up(&self, lookup: &Lookup) -> (Fields<'_>, Timestamp) {
        let mut found = self.find(&lookup.paths);
        let mut semantics = Semantics { fields: [None; KNOWN], subject: None, received: self.received };
        semantics.fields[TIME.range()].copy_from_slice(&found[lookup.len()..]);
        found.truncate(lookup.len());
        (found, semantics.timestamp())
    }

    fn find(&self, lookup: &json::Lookup) -> Fields<'_> {
        let paths = lookup.paths();
        match &self.body {
            Body::Raw(text) => {
                let mut found = Fields::from_elem(None, paths.len());
                lookup.find(text, &mut found);
                found
            }
            Body::Value(value) => paths.iter().map(|path| get_in(value, path).map(Field::Value)).collect(),
        }
    }

    /// The event as JSON text without some of its root fields, in pieces, for whoever copies them to
    /// another place anyway.
    pub fn json_without(&self, is_unwanted: impl Fn(&str) -> bool, piece: &mut impl FnMut(&str)) {
        let is_unwanted = |name: &str, _: &str| is_unwanted(name);
        match &self.body {
            Body::Raw(text) => json::without(text, is_unwanted, piece),
            Body::Value(value) => json::without(&value_json(value), is_unwanted, &mut |text| piece(text)),
        }
    }

    /// The event as a tree to be changed; from here on it is one.
    pub fn value_mut(&mut self) -> &mut Value {
        if let Body::Raw(text) = &self.body {
            self.body = Body::Value(Box::new(parse(text)));
        }
        match &mut self.body {
            Body::Value(value) => value,
            Body::Raw(_) => unreachable!("the text has just become a value"),
        }
    }

    /// The event as a tree.
    pub fn into_value(self) -> Value {
        match self.body {
            Body::Raw(text) => parse(&text),
            Body::Value(value) => *value,
        }
    }

    /// Puts a string at the path if there is nothing; at the root, without making a tree of text.
    pub fn insert_missing(&mut self, path: &Path, text: &str) {
        if self.get(path).is_some() {
            return;
        }
        match (&mut self.body, path.as_root_field()) {
            (Body::Raw(body), Some(name)) => {
                let mut key = Vec::new();
                json::write_escaped(name, &mut key);
                let mut value = Vec::new();
                json::write_string(text, &mut value);
                let (key, value) = (String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
                *body = join_members(json::members(body).chain([(&*key, &*value)])).into();
            }
            _ => {
                self.value_mut().insert(&path.to_vrl(), text);
            }
        }
    }

    /// Puts this object in place of the event's; anything but an object becomes its `message`.
    pub fn set_value(&mut self, value: Value) {
        self.body = Body::Value(Box::new(object(value)));
    }

    /// Puts a value at the path, in place of what is there. Text stays text.
    pub fn insert(&mut self, path: &Path, value: Value) {
        if let (Body::Raw(_), Some((Segment::Field(name), below))) =
            (&self.body, path.segments().split_first())
        {
            let root = Path::root_field(name);
            let mut field = self.get(&root).map_or(Value::Null, Field::to_value);
            field.insert(&Path::from_segments(below.to_vec()).to_vrl(), value);
            self.replace_root_fields(&[(name.as_ref(), Some(value_json(&field)))]);
            return;
        }
        self.value_mut().insert(&path.to_vrl(), value);
    }

    /// Puts JSON in place of fields of the root, or takes them out. Text stays text, and what is not named here
    /// stays in it as it is (see [`json::replace`]).
    pub fn replace_root_fields<V: AsRef<str>>(&mut self, changes: &[(&str, Option<V>)]) {
        match &mut self.body {
            Body::Raw(text) => *text = json::replace(text, changes).into(),
            Body::Value(value) => {
                for (name, json) in changes {
                    let path = Path::root_field(name).to_vrl();
                    match json {
                        Some(json) => value.insert(&path, parse_value(json.as_ref())),
                        None => value.remove(&path, false),
                    };
                }
            }
        }
    }

    /// Puts the JSON object that `edit` makes of the event's text in its place, if it makes one; it must be one
    /// that [`json::is_object`] takes. An event that was a tree is text from then on.
    pub(crate) fn edit(&mut self, edit: impl FnOnce(&str) -> Option<String>) {
        let edited = match &self.body {
            Body::Raw(text) => edit(text),
            Body::Value(value) => edit(&value_json(value)),
        };
        if let Some(text) = edited {
            self.body = Body::Raw(text.into());
        }
    }

    /// Takes fields of the root out; of text, without making a tree of it.
    pub fn remove_root_fields<'a>(&mut self, names: impl Iterator<Item = &'a str> + Clone) {
        match &mut self.body {
            Body::Value(value) => {
                if let Value::Object(map) = value.as_mut() {
                    names.for_each(|name| drop(map.remove(name)));
                }
            }
            Body::Raw(text) => {
                let mut kept = String::with_capacity(text.len());
                let is_unwanted = |key: &str, _: &str| names.clone().any(|name| name == key);
                json::without(text, is_unwanted, &mut |piece| kept.push_str(piece));
                *text = kept.into();
            }
        }
    }

    /// What transforms have put beside the event: VRL's metadata, `%name`. No sink sends it.
    pub fn metadata(&self) -> Option<&Value> {
        self.metadata.as_deref()
    }

    /// Puts this beside the event, in place of what is there.
    pub fn set_metadata(&mut self, metadata: Value) {
        let is_empty = matches!(&metadata, Value::Object(object) if object.is_empty());
        self.metadata = (!is_empty).then(|| Box::new(metadata));
    }

    /// The NATS subject on which the event came.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// When the event was received; of one from a JetStream stream, when that stored it.
    pub fn received(&self) -> Timestamp {
        self.received
    }

    /// When the event happened; see [`Semantics::timestamp`].
    pub fn timestamp(&self) -> Timestamp {
        self.semantics_of(&TIME).timestamp()
    }

    /// How serious the event is; see [`Semantics::level`].
    pub fn level(&self) -> Option<Level> {
        self.semantics_of(&LEVEL).level()
    }

    /// The host the event came from.
    pub fn host(&self) -> Option<Cow<'_, str>> {
        self.semantics_of(&HOST).host()
    }

    /// The message; see [`Semantics::message`].
    pub fn message(&self) -> Option<Cow<'_, str>> {
        self.semantics_of(&MESSAGE).message()
    }

    /// The Fly app; see [`Semantics::app`].
    pub fn app(&self) -> Option<Cow<'_, str>> {
        self.semantics_of(&APP).app()
    }

    /// The Fly region; see [`Semantics::region`].
    pub fn region(&self) -> Option<Cow<'_, str>> {
        self.semantics_of(&REGION).region()
    }

    /// The Fly machine; see [`Semantics::instance`].
    pub fn instance(&self) -> Option<Cow<'_, str>> {
        self.semantics_of(&INSTANCE).instance()
    }

    /// All fields with a meaning, found in one pass.
    pub fn semantics(&self) -> Semantics<'_> {
        self.semantics_of(&EVERYTHING)
    }

    /// The fields of one meaning.
    pub(crate) fn semantics_of<const START: usize, const END: usize>(
        &self,
        known: &Known<START, END>,
    ) -> Semantics<'_> {
        let mut fields = [None; KNOWN];
        fields[known.range()].copy_from_slice(&self.find(&known.lookup));
        Semantics { fields, subject: self.subject(), received: self.received }
    }
}

/// JSON on one line: where events are lines, a line break would end one. It stands between values only, so that
/// a space says the same.
fn one_line(text: ByteString) -> ByteString {
    let inner = text.trim_ascii();
    match memchr::memchr2(b'\n', b'\r', inner.as_bytes()) {
        None => text,
        Some(_) => inner.replace(['\n', '\r'], " ").into(),
    }
}

/// An object of these members, keys as they are written between quotes.
fn join_members<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (key, value) in members {
        if out.len() > 1 {
            out.push(',');
        }
        out.push('"');
        out.push_str(key);
        out.push_str("\":");
        out.push_str(value);
    }
    out.push('}');
    out
}

/// The text has passed [`json::is_object`], which lets nothing through that this would refuse;
/// should the two ever differ, the text is kept as a message.
fn parse(text: &str) -> Value {
    object(parse_value(text))
}

/// This object, or one with this message.
fn object(value: Value) -> Value {
    match value {
        object @ Value::Object(_) => object,
        other => Value::Object([(KeyString::from("message"), other)].into_iter().collect()),
    }
}

/// The same for any JSON value; what is none is a string.
fn parse_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// VRL's own display puts spaces in; this is the compact form that serde writes.
fn value_json(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn get_in<'a>(value: &'a Value, path: &Path) -> Option<&'a Value> {
    path.segments().iter().try_fold(value, |value, segment| match (segment, value) {
        (Segment::Field(name), Value::Object(map)) => map.get(name.as_ref()),
        (Segment::Index(at), Value::Array(items)) if *at >= 0 => items.get(*at as usize),
        (Segment::Index(at), Value::Array(items)) => items.get(items.len().checked_sub(at.unsigned_abs())?),
        _ => None,
    })
}

fn value_size(value: &Value) -> usize {
    /// Fields for which a node of the standard library's tree has room; about half of it is used.
    const NODE: usize = 11;
    let inner = match value {
        Value::Bytes(bytes) => bytes.len() + ALLOCATION,
        Value::String(text) => text.len() + ALLOCATION,
        Value::Object(map) => {
            let slot = size_of::<KeyString>() + size_of::<Value>();
            let nodes = map.len().div_ceil(NODE.div_ceil(2)) * NODE * slot;
            let inside = |value: &Value| value_size(value) - size_of::<Value>();
            nodes + map.iter().map(|(key, value)| key.len() + ALLOCATION + inside(value)).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(value_size).sum(),
        _ => 0,
    };
    size_of::<Value>() + inner
}

#[cfg(test)]
mod tests;
