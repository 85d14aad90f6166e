//! Events as VRL sees them.

use crate::event::{Field, LogEvent, Path, json};
use smallvec::SmallVec;
use std::cell::OnceCell;
use vrl::compiler::{SecretTarget, Target};
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};
use vrl::value::{Secrets, Value};

/// An event's text. A field of the root becomes a tree when the program asks for it, and the whole when it asks
/// for that: for the root itself, or for a field that the compiler did not announce.
#[derive(Debug)]
pub(super) struct TextTarget<'a, 'n> {
    text: &'a str,
    names: &'n [Path],
    slots: SmallVec<[Slot<'a>; 8]>,
    /// The event as a tree, with all changes so far; from when it is made, it is the only truth.
    whole: OnceCell<Value>,
    /// Whether more may have changed than the slots that say so.
    is_rewritten: bool,
    beside: Beside,
}

/// A field that the program names.
#[derive(Debug)]
struct Slot<'a> {
    text: Option<&'a str>,
    value: OnceCell<Option<Value>>,
    is_changed: bool,
}

/// What a program has done to an event.
#[derive(Debug)]
pub(super) enum Changes<'n> {
    None,
    /// To fields of the root: what they are now, or that they are gone.
    Fields(Vec<(&'n str, Option<Value>)>),
    /// This is the event now.
    Root(Value),
}

impl<'a, 'n> TextTarget<'a, 'n> {
    /// A target of checked text, for a program that names these fields of the root.
    pub(super) fn new(text: &'a str, fields: &'n json::Lookup, beside: Beside) -> TextTarget<'a, 'n> {
        let names = fields.paths();
        let mut found: SmallVec<[Option<&str>; 8]> = SmallVec::from_elem(None, names.len());
        if !names.is_empty() {
            fields.find(text, &mut found);
        }
        let slot = |text| Slot { text, value: OnceCell::new(), is_changed: false };
        TextTarget {
            text,
            names,
            slots: found.into_iter().map(slot).collect(),
            whole: OnceCell::new(),
            is_rewritten: false,
            beside,
        }
    }

    /// What has become of it, and of its metadata. Only reading leaves no changes, even if the whole was read.
    pub(super) fn into_changes(self) -> (Changes<'n>, Value) {
        let TextTarget { names, slots, whole, is_rewritten, beside, .. } = self;
        let mut whole = whole.into_inner();
        if is_rewritten {
            return (whole.map_or(Changes::None, Changes::Root), beside.metadata);
        }
        let changed = slots.into_iter().zip(names).filter(|(slot, _)| slot.is_changed);
        let fields: Vec<_> = changed
            .filter_map(|(slot, path)| {
                let name = path.as_root_field()?;
                let value = match &mut whole {
                    Some(Value::Object(object)) => object.remove(name),
                    _ => slot.value.into_inner().flatten(),
                };
                Some((name, value))
            })
            .collect();
        let changes = if fields.is_empty() { Changes::None } else { Changes::Fields(fields) };
        (changes, beside.metadata)
    }

    /// The field that a path begins with, if it is one of those that were announced, and the steps below it.
    fn find<'p>(&self, path: &'p OwnedTargetPath) -> Option<(usize, &'p [OwnedSegment])> {
        let (first, rest) = path.path.segments.split_first()?;
        let OwnedSegment::Field(first) = first else { return None };
        let is_it = |path: &Path| path.as_root_field() == Some(first.as_str());
        Some((self.names.iter().position(is_it)?, rest))
    }

    fn whole(&self) -> &Value {
        self.whole.get_or_init(|| {
            let mut value = Field::Json(self.text).to_value();
            if let Value::Object(object) = &mut value {
                for (slot, path) in self.slots.iter().zip(self.names).filter(|(slot, _)| slot.is_changed) {
                    let name = path.as_root_field().unwrap_or_default();
                    match slot.value() {
                        Some(value) => object.insert(name.into(), value.clone()),
                        None => object.remove(name),
                    };
                }
            }
            value
        })
    }

    fn whole_mut(&mut self) -> Option<&mut Value> {
        self.whole();
        self.whole.get_mut()
    }

    /// The whole, if it has been made or the path can only be found in it, to be changed there.
    fn whole_to_change(&mut self, slot: Option<usize>) -> Option<&mut Value> {
        match slot {
            Some(slot) => {
                self.slots[slot].is_changed = true;
                self.whole.get_mut()
            }
            None => {
                self.is_rewritten = true;
                self.whole_mut()
            }
        }
    }
}

impl Slot<'_> {
    fn value(&self) -> Option<&Value> {
        self.value.get_or_init(|| self.text.map(|text| Field::Json(text).to_value())).as_ref()
    }

    fn value_mut(&mut self) -> Option<&mut Option<Value>> {
        self.value();
        self.value.get_mut()
    }
}

impl Target for TextTarget<'_, '_> {
    fn target_insert(&mut self, path: &OwnedTargetPath, value: Value) -> Result<(), String> {
        if path.prefix == PathPrefix::Metadata {
            self.beside.metadata.insert(&path.path, value);
            return Ok(());
        }
        if path.path.segments.is_empty() {
            self.is_rewritten = true;
            self.whole = OnceCell::from(value);
            return Ok(());
        }
        let found = self.find(path);
        if let Some(whole) = self.whole_to_change(found.map(|(slot, _)| slot)) {
            whole.insert(&path.path, value);
        } else if let Some((slot, rest)) = found {
            let slot = &mut self.slots[slot];
            if rest.is_empty() {
                slot.value = OnceCell::from(Some(value));
            } else if let Some(field) = slot.value_mut() {
                field.get_or_insert(Value::Null).insert(rest, value);
            }
        }
        Ok(())
    }

    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        if path.prefix == PathPrefix::Metadata {
            return Ok(self.beside.metadata.get(&path.path));
        }
        match self.find(path) {
            Some((slot, rest)) if self.whole.get().is_none() => {
                Ok(self.slots[slot].value().and_then(|value| value.get(rest)))
            }
            _ => Ok(self.whole().get(&path.path)),
        }
    }

    fn target_get_mut(&mut self, path: &OwnedTargetPath) -> Result<Option<&mut Value>, String> {
        if path.prefix == PathPrefix::Metadata {
            return Ok(self.beside.metadata.get_mut(&path.path));
        }
        let found = self.find(path);
        if self.whole_to_change(found.map(|(slot, _)| slot)).is_some() {
            return Ok(self.whole.get_mut().and_then(|whole| whole.get_mut(&path.path)));
        }
        let Some((slot, rest)) = found else { return Ok(None) };
        Ok(self.slots[slot].value_mut().and_then(Option::as_mut).and_then(|value| value.get_mut(rest)))
    }

    fn target_remove(&mut self, path: &OwnedTargetPath, compact: bool) -> Result<Option<Value>, String> {
        if path.prefix == PathPrefix::Metadata {
            return Ok(self.beside.metadata.remove(&path.path, compact));
        }
        if self.target_get(path)?.is_none() {
            return Ok(None);
        }
        let found = self.find(path);
        if let Some(whole) = self.whole_to_change(found.map(|(slot, _)| slot)) {
            return Ok(whole.remove(&path.path, compact));
        }
        let Some((slot, rest)) = found else { return Ok(None) };
        let Some(field) = self.slots[slot].value_mut() else { return Ok(None) };
        if rest.is_empty() {
            return Ok(field.take());
        }
        let removed = field.as_mut().and_then(|field| field.remove(rest, compact));
        let is_empty = match field {
            Some(Value::Object(object)) => object.is_empty(),
            Some(Value::Array(array)) => array.is_empty(),
            _ => false,
        };
        if compact && is_empty {
            *field = None;
        }
        Ok(removed)
    }
}

/// An event that is a tree already, for a program that changes nothing.
#[derive(Debug)]
pub(super) struct TreeTarget<'a> {
    value: &'a Value,
    beside: Beside,
}

impl<'a> TreeTarget<'a> {
    pub(super) fn new(value: &'a Value, beside: Beside) -> TreeTarget<'a> {
        TreeTarget { value, beside }
    }
}

/// The compiler has refused a program that would get here.
const READ_ONLY: &str = "the event can only be read here";

impl Target for TreeTarget<'_> {
    fn target_insert(&mut self, _path: &OwnedTargetPath, _value: Value) -> Result<(), String> {
        Err(READ_ONLY.to_owned())
    }

    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        Ok(match path.prefix {
            PathPrefix::Event => self.value.get(&path.path),
            PathPrefix::Metadata => self.beside.metadata.get(&path.path),
        })
    }

    fn target_get_mut(&mut self, _path: &OwnedTargetPath) -> Result<Option<&mut Value>, String> {
        Err(READ_ONLY.to_owned())
    }

    fn target_remove(&mut self, _path: &OwnedTargetPath, _compact: bool) -> Result<Option<Value>, String> {
        Err(READ_ONLY.to_owned())
    }
}

/// What VRL knows beside the event: its metadata (`%name`), and no secrets.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) metadata: Value,
    pub(super) secrets: Secrets,
}

impl Beside {
    /// What is beside an event, of which the program wants to know or not.
    pub(super) fn of(event: &LogEvent, wants: bool) -> Beside {
        let metadata = event.metadata().filter(|_| wants).cloned();
        let metadata = metadata.unwrap_or_else(|| Value::Object(Default::default()));
        Beside { metadata, secrets: Secrets::new() }
    }
}

macro_rules! secrets_beside {
    ($target:ty) => {
        impl SecretTarget for $target {
            fn get_secret(&self, key: &str) -> Option<&str> {
                self.beside.secrets.get_secret(key)
            }

            fn insert_secret(&mut self, key: &str, value: &str) {
                self.beside.secrets.insert_secret(key, value);
            }

            fn remove_secret(&mut self, key: &str) {
                self.beside.secrets.remove_secret(key);
            }
        }
    };
}

secrets_beside!(TextTarget<'_, '_>);
secrets_beside!(TreeTarget<'_>);
