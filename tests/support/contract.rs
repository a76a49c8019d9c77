//! What docs/asyncapi.json says of the server's messages: all that come in a test are held against it.

use std::sync::LazyLock;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

/// The schemas of all messages that a server sends.
struct Contract {
    schemas: Schemas,
    /// Of any of them.
    message: SchemaIndex,
}

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let text = include_str!("../../docs/asyncapi.json");
    let mut document: Value = serde_json::from_str(text).unwrap();
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    let mut replies = Vec::new();
    for (name, schema) in schemas {
        let properties = &schema["properties"];
        let is_sent =
            !properties["result"].is_null() || ["update", "feed"].contains(&name.as_str());
        if is_sent {
            replies.push(json!({"$ref": format!("#/components/schemas/{name}")}));
            // Clients must take keys that they do not know; there must be none that the document does
            // not know.
            schema["additionalProperties"] = json!(false);
        }
    }
    document["oneOf"] = json!(replies);
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("asyncapi.json", document).unwrap();
    let message = compiler.compile("asyncapi.json", &mut schemas).unwrap();
    Contract { schemas, message }
});

/// Panics where a server may not send this message.
#[track_caller]
pub fn check_message(text: &str) {
    let message = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let Contract {
        schemas,
        message: schema,
    } = &*CONTRACT;
    if let Err(error) = schemas.validate(&message, *schema) {
        panic!("docs/asyncapi.json does not allow {text}: {error:#}");
    }
}
