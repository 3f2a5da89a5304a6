//! `.template`, `.template-from` and `.delimiters`, and what they mean for `.format`.

use std::collections::BTreeSet;

use crate::annotations::Values;
use crate::annotations::error::Problem;
use crate::annotations::vocabulary::{self, Word};
use crate::credential::{FieldName, Format, KeyMapping, ServicePort, TemplateSource, parse_template_key};
use crate::object::Namespace;
use crate::secret::SecretBytes;
use crate::template::{Delimiters, Template};

/// Reads the format, and the template if that is it. Where `.keys` says which fields there are, a name that is none of them is an
/// error already.
pub(crate) fn read(
    values: &mut Values<'_>,
    namespace: &Namespace,
    keys: &KeyMapping,
    literals: &[(FieldName, SecretBytes)],
) -> (Format, Option<TemplateSource>) {
    let has = |values: &Values<'_>, word| values.words.contains_key(&word);
    let (written, named) = (has(values, Word::Template), has(values, Word::TemplateFrom));
    let together = |problem| Problem::Together { problem };
    let default = if written || named { Format::Template } else { Format::Files };
    let format = values.read(Word::Format, vocabulary::parse_format);
    match (format, written || named) {
        (Some(Format::Template), false) => {
            values.push(Word::Format, together("there is no template: add .template or .template-from"));
        }
        (Some(Format::Template) | None, _) | (Some(_), false) => {}
        (Some(_), true) => {
            let problem = "is another one than template, and there is a template: leave one of them out";
            values.push(Word::Format, together(problem));
        }
    }
    if written && named {
        values.push(Word::TemplateFrom, together("there is .template too: leave one of them out"));
    }
    if !written && !named && has(values, Word::Delimiters) {
        let problem = "there is no template: add .template or .template-from, or leave this out";
        values.push(Word::Delimiters, together(problem));
    }
    let delimiters = match values.read(Word::Delimiters, |text| Ok(Delimiters::parse(text)?)) {
        // Between other marks than the ones that were meant, the template means something else.
        None if has(values, Word::Delimiters) => return (format.unwrap_or(default), None),
        delimiters => delimiters.unwrap_or_default(),
    };
    let text = values.read(Word::Template, |text| Ok(Template::parse(text, &delimiters)?));
    if let (Some(template), KeyMapping::Listed(listed)) = (&text, keys) {
        let fields = listed.iter().map(|(field, _)| field).chain(literals.iter().map(|(field, _)| field));
        let mut fields = fields.map(FieldName::as_str).collect::<BTreeSet<_>>();
        if has(values, Word::Service) {
            fields.extend(ServicePort::own_fields(keys));
        }
        template.missing(&fields).into_iter().for_each(|error| values.push(Word::Template, error.into()));
    }
    let key = values.read(Word::TemplateFrom, |text| Ok(parse_template_key(text.trim(), namespace)?));
    let named = key.map(|(object, key)| TemplateSource::ConfigMap { object, key, delimiters });
    (format.unwrap_or(default), text.map(TemplateSource::Text).or(named))
}
