//! Reads the test vectors: as much JSON as they hold, and their fields as the types of a frame.
//!
//! What the vectors say is held against the codec in `tests/vectors.rs`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use tcpkit::message::{ErrorCode, Mode, Outcome, Reason, SessionKey, StatusCode, Token};

/// A value of a vector; never null, negative or a fraction.
#[derive(Debug)]
pub(crate) enum Json {
    True,
    Number(u64),
    Text(String),
    /// Hex in the file, under a key that ends in `_hex`; here the key is without it.
    Bytes(Vec<u8>),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// Takes [`Json`] from the front of a text; panics on what is none.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn need(&mut self, token: &str) {
        assert!(self.take(token), "{token} is missing before {:?}", self.rest);
    }

    fn value(&mut self) -> Json {
        if self.take("{") {
            Json::Object(self.items("}", Self::entry).into_iter().collect())
        } else if self.take("[") {
            Json::List(self.items("]", Self::value))
        } else if self.take("\"") {
            Json::Text(self.text())
        } else if self.take("true") {
            Json::True
        } else {
            let size = self.rest.find(|c: char| !c.is_ascii_digit()).expect("an end");
            let (digits, rest) = self.rest.split_at(size);
            self.rest = rest;
            Json::Number(digits.parse().expect("a number"))
        }
    }

    fn items<T>(&mut self, end: &str, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let mut items = Vec::new();
        while !self.take(end) {
            if !items.is_empty() {
                self.need(",");
            }
            items.push(item(self));
        }
        items
    }

    fn entry(&mut self) -> (String, Json) {
        self.need("\"");
        let key = self.text();
        self.need(":");
        match (key.strip_suffix("_hex"), self.value()) {
            (Some(key), Json::Text(hex)) => (key.into(), Json::Bytes(from_hex(&hex))),
            (_, value) => (key, value),
        }
    }

    /// The rest of a string whose opening quote is taken.
    fn text(&mut self) -> String {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next().expect("a closing quote") {
                '"' => break,
                '\\' => text.push(match chars.next() {
                    Some('n') => '\n',
                    Some(plain @ ('"' | '\\')) => plain,
                    other => panic!("the escape {other:?} is not used in vectors"),
                }),
                plain => text.push(plain),
            }
        }
        self.rest = chars.as_str();
        text
    }
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte in {text}");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// One file of `tests/vectors/`. `PROTOCOL.md` says what its keys mean.
pub(crate) struct Vector {
    /// The name of the file, without `.json`.
    pub(crate) name: String,
    /// The frame, or what takes the place of one.
    pub(crate) bytes: Vec<u8>,
    keys: BTreeMap<String, Json>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a vector is UTF-8");
        let mut parser = Parser { rest: &text };
        let Json::Object(keys) = parser.value() else { panic!("{name} is no object") };
        assert_eq!(parser.rest, "\n", "{name} ends with its object and one newline");
        let mut vector = Self { name, bytes: Vec::new(), keys };
        vector.bytes = from_hex(vector.get("hex"));
        vector
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// What stands under a key beside `fields`.
    pub(crate) fn get<'a, T: FromJson<'a>>(&'a self, key: &str) -> T {
        T::from_json(&self.keys[key])
    }

    /// What stands under a key of `fields`.
    pub(crate) fn field<'a, T: FromJson<'a>>(&'a self, key: &str) -> T {
        let Json::Object(fields) = &self.keys["fields"] else { panic!("{}: fields", self.name) };
        let field = fields.get(key).unwrap_or_else(|| panic!("{} lacks {key}", self.name));
        T::from_json(field)
    }
}

/// All of `tests/vectors/`, by name: first those of frames, then those of violations.
pub(crate) fn vectors() -> (Vec<Vector>, Vec<Vector>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of vectors")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    paths.iter().map(|path| Vector::read(path)).partition(|vector| !vector.name.starts_with("bad-"))
}

/// The type that a field of a frame has.
pub(crate) trait FromJson<'a> {
    fn from_json(json: &'a Json) -> Self;
}

impl FromJson<'_> for u64 {
    /// A number, or one in quotes: readers that count in floats cannot hold those from 2^53 on.
    fn from_json(json: &Json) -> Self {
        match json {
            Json::Number(number) => *number,
            Json::Text(digits) => digits.parse().expect("digits"),
            other => panic!("{other:?} is no number"),
        }
    }
}

impl<'a> FromJson<'a> for &'a str {
    fn from_json(json: &'a Json) -> Self {
        let Json::Text(text) = json else { panic!("{json:?} is no text") };
        text
    }
}

impl<'a> FromJson<'a> for &'a [u8] {
    fn from_json(json: &'a Json) -> Self {
        match json {
            Json::Bytes(bytes) => bytes,
            text => <&str>::from_json(text).as_bytes(),
        }
    }
}

impl<'a> FromJson<'a> for Vec<&'a str> {
    fn from_json(json: &'a Json) -> Self {
        let Json::List(items) = json else { panic!("{json:?} is no list") };
        items.iter().map(FromJson::from_json).collect()
    }
}

/// `Type: from(Base) = conversion` for the types that are made of those above.
macro_rules! from_json {
    ($($type:ty: from($base:ty) = $convert:expr;)*) => {
        $(impl<'a> FromJson<'a> for $type {
            fn from_json(json: &'a Json) -> Self {
                $convert(<$base>::from_json(json))
            }
        })*
    };
}

from_json! {
    u32: from(u64) = |number| u32::try_from(number).expect("32 bits");
    u8: from(u64) = |number| u8::try_from(number).expect("8 bits");
    Option<u64>: from(u64) = |size| (size != u64::MAX).then_some(size);
    Cow<'a, str>: from(&str) = Cow::Borrowed;
    Token<'a>: from(&'a str) = Token;
    SessionKey: from(&[u8]) = |key: &[u8]| SessionKey(key.try_into().expect("16 bytes"));
    Mode: from(u8) = Mode::from_number;
    Reason: from(u8) = Reason::from_number;
    ErrorCode: from(u8) = ErrorCode::from_number;
    StatusCode: from(u8) = StatusCode::from_number;
    Outcome: from(u8) = Outcome::from_number;
}
