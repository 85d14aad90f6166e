//! A build without the feature `vrl`: what wants a program says that there is no compiler.

use crate::event::LogEvent;
use std::convert::Infallible;
use std::fmt;
use vrl::value::Value;

/// A compiled program, of which there can be none.
#[derive(Debug)]
pub enum Program {}

/// Whether a program may change the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may, as in `remap`.
    ReadWrite,
    /// It may not, as in a condition.
    ReadOnly,
}

/// How a program ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Infallible);

/// The time zone of a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeZone;

/// The time zone of any name: nothing is done in it.
pub fn time_zone(_name: Option<&str>) -> Result<TimeZone, String> {
    Ok(TimeZone)
}

impl Program {
    pub fn compile(
        _source: &str,
        _access: Access,
        _timezone: TimeZone,
    ) -> Result<(Program, Option<String>), String> {
        Err("this build has no compiler of VRL; build log-shipper with its feature `vrl`".to_owned())
    }

    pub fn is_boolean(&self) -> bool {
        match *self {}
    }

    pub fn can_fail(&self) -> bool {
        match *self {}
    }

    pub fn evaluate(&mut self, _event: &LogEvent) -> Result<Value, Failure> {
        match *self {}
    }

    pub fn run(&mut self, _event: &mut LogEvent) -> Result<Option<Value>, Failure> {
        match *self {}
    }
}

impl Failure {
    pub fn is_abort(&self) -> bool {
        match self.0 {}
    }

    pub fn reason(&self) -> &'static str {
        match self.0 {}
    }

    pub fn message(&self) -> String {
        match self.0 {}
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}
