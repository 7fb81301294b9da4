//! Measured values with their names and units. Must not know how they were measured.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What it is for programs: dotted, and the same in every version.
    #[serde(skip)]
    pub name: String,
    /// What it is for people. One that begins with spaces explains the one before.
    #[serde(skip)]
    pub label: String,
    /// The value.
    pub value: f64,
    /// What the value counts.
    pub unit: &'static str,
}

/// The figures of a run in the order in which they were measured; as JSON an object with a member for each name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, name: impl Into<String>, label: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), label: label.into(), value, unit });
    }

    /// All of them.
    pub fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// The value of a name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.figures.len()))?;
        for figure in &self.figures {
            map.serialize_entry(&figure.name, figure)?;
        }
        map.end()
    }
}

/// A value with as many digits as say something: `1,234,567`, `123`, `12.3`, `1.23`.
pub fn shown(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let first = digits.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > first && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
