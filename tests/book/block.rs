//! Fenced blocks of code on a page.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::pages::Page;

/// A fenced block.
pub struct Block {
    /// The page, relative to the root of the project.
    pub page: String,
    /// The line of its opening fence, from 1.
    pub line: usize,
    /// The info string of the fence.
    pub language: String,
    /// The text between the fences.
    pub text: String,
}

/// The blocks of a page.
pub fn of(page: &Page) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_inside = false;
    let events = Parser::new_ext(&page.text, Options::ENABLE_TABLES).into_offset_iter();
    for (event, range) in events {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.into_string(),
                    CodeBlockKind::Indented => "text".to_owned(),
                };
                blocks.push(Block {
                    page: page.path.clone(),
                    line: page.text[..range.start].lines().count() + 1,
                    language,
                    text: String::new(),
                });
                is_inside = true;
            }
            Event::Text(text) if is_inside => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => is_inside = false,
            _ => {}
        }
    }
    blocks
}

impl Block {
    /// Its position as `page:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }
    /// The text between this block and the next.
    pub fn following(&self, page: &Page) -> String {
        let end = self.line + self.text.lines().count() + 1;
        let rest = page.text.lines().skip(end);
        let lines = rest.take_while(|line| !line.starts_with("```"));
        lines.collect::<Vec<_>>().join("\n")
    }
}
