//! Why a record is bad: a closed list of codes.
//!
//! A bad record's reason is one of these codes, then `: `, then a detail for people. Programs match the code; the detail
//! may change between versions.

use std::fmt;

macro_rules! reasons {
    ($($variant:ident, $code:literal, $explain:literal;)*) => {
        /// A code for one way in which a record can be bad.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $(#[doc = $explain] $variant,)* }

        /// Every code, in the order of the table.
        pub const REASONS: &[Reason] = &[$(Reason::$variant,)*];

        impl Reason {
            /// Returns the word that stands first in a reason, such as `invalid_json`.
            pub fn code(self) -> &'static str { match self { $(Reason::$variant => $code,)* } }
            /// Returns one sentence on what it means.
            pub fn explain(self) -> &'static str { match self { $(Reason::$variant => $explain,)* } }
        }
    };
}

reasons! {
    // About the value as a whole. These come first: the first that holds is the reason.
    NullValue, "null_value", "The record has no value (a tombstone)";
    TooLarge, "too_large", "The value is longer than 1 MiB";
    SchemaRegistry, "schema_registry", "The value starts with a schema registry's header (a zero byte and four bytes of id) where plain JSON is expected";
    InvalidUtf8, "invalid_utf8", "The value is not UTF-8";
    ByteOrderMark, "byte_order_mark", "The value starts with a byte order mark";
    // About its JSON text: the first in the order of the text. A text that breaks one of these is never looked at further.
    InvalidJson, "invalid_json", "The value is not JSON text as RFC 8259 has it";
    TrailingBytes, "trailing_bytes", "Something follows the JSON text";
    LoneSurrogate, "lone_surrogate", "An escape names half of a surrogate pair, which is no character";
    DuplicateKey, "duplicate_key", "An object has the same key twice";
    TooDeep, "too_deep", "Objects and arrays are nested more than 64 deep";
    TooManyKeys, "too_many_keys", "The value has more than 10,000 keys";
    NumberTooLong, "number_too_long", "A number is written with more than 64 characters";
    // About a column: the first in the order of the text, then columns from key and headers, then missing ones.
    NotAnObject, "not_an_object", "Something else stands where an object is expected";
    WrongType, "wrong_type", "A value is not of its column's type";
    NotAnInteger, "not_an_integer", "A number with a point or an exponent stands in an integer's place, `1.0` and `1e3` too";
    OutOfRange, "out_of_range", "A number does not fit its column's type";
    DecimalScale, "decimal_scale", "A decimal has more digits after the point than its column";
    InvalidNumber, "invalid_number", "A text is not a number";
    InvalidTimestamp, "invalid_timestamp", "A text is not a timestamp of its column's format";
    LeapSecond, "leap_second", "A timestamp has the second 60";
    TimestampOutOfRange, "timestamp_out_of_range", "A timestamp lies outside the years 0000 to 9999 (UTC)";
    InvalidDate, "invalid_date", "A text is not a date as in `2026-01-31`";
    InvalidBase64, "invalid_base64", "A text is not base64 with padding (RFC 4648, section 4)";
    NullInRequired, "null_in_required", "A column marked `!` is null or not there";
}

/// A reason with its detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The code.
    pub reason: Reason,
    /// What was seen, for people.
    pub detail: String,
}

impl Fault {
    /// Makes a fault.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.code())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}
