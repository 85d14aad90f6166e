//! Any bytes as an event, and changes to it as text, held against serde_json and its trees.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use log_shipper::event::{LogEvent, Path, json};
use serde_json::{Map, Value};

#[derive(Arbitrary, Debug)]
enum Change<'a> {
    InsertMissing(&'a str, &'a str),
    Insert(&'a str, Option<&'a str>, i32),
    Remove(&'a str, &'a str),
    Replace(&'a str, Option<i32>),
}

fuzz_target!(|input: (&[u8], Vec<Change>)| {
    let (bytes, changes) = input;
    let model = serde_json::from_slice::<Map<String, Value>>(bytes).ok();
    let is_object = std::str::from_utf8(bytes).is_ok_and(json::is_object);
    assert_eq!(is_object, model.is_some(), "serde_json differs: {}", String::from_utf8_lossy(bytes));
    let event = LogEvent::from_json(bytes.to_vec().into());
    assert_eq!(event.is_ok(), is_object);
    let (Ok(mut event), Some(mut model)) = (event, model) else { return };
    // What anybody asks of an event.
    let _ = (event.level(), event.host(), event.message(), event.app(), event.timestamp());
    // Deeper than this, one more level would be too deep for serde_json.
    if bytes.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() > 100 {
        return;
    }
    check(&event, &model);
    for change in changes.iter().take(8) {
        match *change {
            Change::InsertMissing(name, text) => {
                event.insert_missing(&Path::root_field(name), text);
                model.entry(name).or_insert_with(|| text.into());
            }
            Change::Insert(name, None, number) => {
                event.insert(&Path::root_field(name), i64::from(number).into());
                model.insert(name.to_owned(), number.into());
            }
            Change::Insert(name, Some(below), number) => {
                event.insert(&Path::root_field(name).field(below), i64::from(number).into());
                let inner = model.entry(name).or_insert(Value::Null);
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                inner[below] = number.into();
            }
            Change::Remove(first, second) => {
                event.remove_root_fields([first, second].into_iter());
                model.remove(first);
                model.remove(second);
            }
            Change::Replace(name, number) => {
                event.replace_root_fields(&[(name, number.map(|number| number.to_string()))]);
                match number {
                    Some(number) => drop(model.insert(name.to_owned(), number.into())),
                    None => drop(model.remove(name)),
                }
            }
        }
        check(&event, &model);
    }
});

/// The event's text is the model, and every field is found in it.
fn check(event: &LogEvent, model: &Map<String, Value>) {
    let text = event.json();
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(is_same(&found, &Value::Object(model.clone())), "{text}\nis not\n{model:?}");
    for (name, value) in model {
        let path = Path::root_field(name);
        let field = event.get(&path).unwrap_or_else(|| panic!("{name:?} is not found in {text}"));
        let field: Value = serde_json::from_str(&field.to_json()).expect("JSON");
        assert!(is_same(&field, value), "{name:?} is {field} in {text}");
        for (name, inner) in value.as_object().into_iter().flatten() {
            let field = event.get(&path.clone().field(name)).expect("a nested field");
            let field: Value = serde_json::from_str(&field.to_json()).expect("JSON");
            assert!(is_same(&field, inner), "{name:?} is {field} in {text}");
        }
    }
}

/// Whether the values are the same; of numbers, as floats, since a large integer becomes one in a tree.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
        }
        (a, b) => a == b,
    }
}
