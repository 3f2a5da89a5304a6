//! `.on-change-header`: renders the header of the request that notifies the application.

use std::borrow::Cow;

use crate::credential::{Credential, HEADER_LIMIT, Header, HeaderTemplate, is_header_value};
use crate::formats::Fields;
use crate::render::error::Problem;
use crate::render::fields::{self, Sources};
use crate::render::redaction::Redaction;
use crate::render::template;

/// Renders the header. Returns `None` if the credential is optional and a source is missing. With a redaction, the value is the placeholder: it may encode several fields at once.
pub(crate) fn render(
    credential: &Credential,
    header: &HeaderTemplate,
    sources: &Sources,
    redaction: Option<Redaction<'_>>,
    work: usize,
) -> Result<Option<Header>, Vec<Problem>> {
    let rendered = |value| Ok(Some(Header { name: header.name.clone(), value }));
    if let Some(Redaction { placeholder, .. }) = redaction {
        return rendered(placeholder.clone());
    }
    let Some(selection) = fields::select(credential, sources, work)? else { return Ok(None) };
    let mut fields = Fields::new();
    fields.extend(selection.fields.iter().map(|(field, value)| (field.clone(), &**value)));
    let line = Cow::Borrowed(&header.line);
    let filled = template::fill(credential, sources, &fields, None, work, line, &Problem::Header)?;
    let Some(line) = filled else { return Ok(None) };
    if line.expose().len() > HEADER_LIMIT {
        return Err(vec![Problem::LongHeader { limit: HEADER_LIMIT }]);
    }
    match header.value(&line) {
        Some(value) => rendered(value),
        None => Err(vec![unsuitable(header, &fields)]),
    }
}

/// Names the fields of the header whose values a header cannot carry.
fn unsuitable(header: &HeaderTemplate, fields: &Fields<'_>) -> Problem {
    let (mut named, mut has_end) = (Vec::new(), false);
    for (field, value) in fields.iter().filter(|(field, _)| header.line.mentions(field.as_str())) {
        if !is_header_value(value.expose()) {
            has_end |= is_header_value(value.expose().trim_ascii_end());
            named.push(field.as_str());
        }
    }
    let fields = match named.as_slice() {
        [] => "the value has".to_owned(),
        [field] => format!("field {field} has"),
        fields => format!("fields {} have", fields.join(", ")),
    };
    Problem::HeaderValue { fields, has_end }
}
