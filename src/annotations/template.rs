//! `.template`, `.template-from` and `.delimiters`, and their combinations with `.format`.

use std::collections::BTreeSet;

use crate::annotations::Values;
use crate::annotations::error::Problem;
use crate::annotations::keys::{self, AnnotationKey};
use crate::credential::{FieldName, Format, KeyMapping, ServicePort, TemplateSource, parse_template_key};
use crate::object::Namespace;
use crate::secret::SecretBytes;
use crate::template::{Delimiters, Template};

/// Reads the format and, for format `template`, the template. If `.keys` lists the fields, the template is also checked
/// against them.
pub(crate) fn read(
    values: &mut Values<'_>,
    namespace: &Namespace,
    keys: &KeyMapping,
    literals: &[(FieldName, SecretBytes)],
) -> (Format, Option<TemplateSource>) {
    let has = |values: &Values<'_>, key| values.texts.contains_key(&key);
    let (is_inline, is_named) =
        (has(values, AnnotationKey::Template), has(values, AnnotationKey::TemplateFrom));
    let has_template = is_inline || is_named;
    let default = if has_template { Format::Template } else { Format::Files };
    let format = values.read(AnnotationKey::Format, keys::parse_format);
    match (format, has_template) {
        (Some(Format::Template), false) => {
            let problem = "missing template: add .template or .template-from";
            values.push(AnnotationKey::Format, Problem::Combination(problem));
        }
        (Some(Format::Template) | None, _) | (Some(_), false) => {}
        (Some(_), true) => {
            let problem = "must be \"template\" when .template or .template-from is set: remove one of them";
            values.push(AnnotationKey::Format, Problem::Combination(problem));
        }
    }
    if is_inline && is_named {
        let problem = "conflicts with .template: remove one of them";
        values.push(AnnotationKey::TemplateFrom, Problem::Combination(problem));
    }
    if !has_template && has(values, AnnotationKey::Delimiters) {
        let problem = "missing template: add .template or .template-from, or remove .delimiters";
        values.push(AnnotationKey::Delimiters, Problem::Combination(problem));
    }
    let delimiters = match values.read(AnnotationKey::Delimiters, |text| Ok(Delimiters::parse(text)?)) {
        // Parsed with other delimiters, the template would only yield misleading errors.
        None if has(values, AnnotationKey::Delimiters) => return (format.unwrap_or(default), None),
        delimiters => delimiters.unwrap_or_default(),
    };
    let text = values.read(AnnotationKey::Template, |text| Ok(Template::parse(text, &delimiters)?));
    if let (Some(template), KeyMapping::Listed(listed)) = (&text, keys) {
        let fields = listed.iter().map(|(field, _)| field).chain(literals.iter().map(|(field, _)| field));
        let mut fields = fields.map(FieldName::as_str).collect::<BTreeSet<_>>();
        if has(values, AnnotationKey::Service) {
            fields.extend(ServicePort::own_fields(keys));
        }
        for error in template.unknown_names(&fields) {
            values.push(AnnotationKey::Template, error.into());
        }
    }
    let key =
        values.read(AnnotationKey::TemplateFrom, |text| Ok(parse_template_key(text.trim(), namespace)?));
    let named = key.map(|(object, key)| TemplateSource::ConfigMap { object, key, delimiters });
    (format.unwrap_or(default), text.map(TemplateSource::Text).or(named))
}
