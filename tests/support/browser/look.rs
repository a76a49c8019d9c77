//! How each of our pages must look: what a browser can measure of it. Knows no page.

use serde_json::Value;

use super::Browser;

/// Each visible text and placeholder, with the contrast between it and the first opaque background
/// behind it.
const CONTRASTS: &str = r#"(() => {
    const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = (colour) => {
        const [r, g, b] = channels(colour).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const background = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return (channels(colour)[3] ?? 1) === 1 || element === document.documentElement ? colour : background(element.parentElement);
    };
    const contrast = (element, style) => {
        const [lighter, darker] = [luminance(style.color), luminance(background(element))].sort((a, b) => b - a);
        return (lighter + 0.05) / (darker + 0.05);
    };
    const texts = [...document.body.querySelectorAll("*")].filter((element) => element.checkVisibility()
        && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()));
    return [
        ...texts.map((element) => ({ text: element.textContent.trim(), contrast: contrast(element, getComputedStyle(element)) })),
        ...[...document.querySelectorAll("input")].map((input) =>
            ({ text: input.placeholder, contrast: contrast(input, getComputedStyle(input, "::placeholder")) })),
    ];
})()"#;

impl Browser {
    /// Presses Tab until the condition holds, and sees the focus at each step.
    pub fn tab_to(&mut self, condition: &str) {
        for _ in 0..20 {
            self.press("Tab");
            let outline = self.evaluate("document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle");
            assert!(
                outline == true || outline == "solid",
                "{} shows no focus: {outline}",
                self.evaluate("document.activeElement.outerHTML")
            );
            if self.evaluate(condition) == true {
                return;
            }
        }
        panic!("never reached by Tab: {condition}");
    }

    /// Every text has a contrast of at least 4.5, in light and dark.
    pub fn check_contrast(&mut self) {
        for (scheme, page_is_dark) in [("light", false), ("dark", true)] {
            self.prefer_colours(scheme);
            let texts = self.evaluate(CONTRASTS);
            let texts = texts.as_array().expect("a list of texts");
            assert!(
                texts.len() > 10,
                "{scheme}: there are more texts than {}",
                texts.len()
            );
            for text in texts {
                let contrast = text["contrast"].as_f64();
                assert!(
                    contrast.is_some_and(|contrast| contrast >= 4.5),
                    "{scheme}: {text}"
                );
            }
            let background = self.evaluate("getComputedStyle(document.body).backgroundColor");
            let is_light = |colour: &Value| colour.as_str().unwrap().starts_with("rgb(25");
            assert_eq!(is_light(&background), !page_is_dark, "{background}");
        }
    }

    /// At this width nothing scrolls sideways.
    pub fn check_width(&mut self, width: u32) {
        self.resize(width, 740);
        // Not innerWidth: on a phone it grows with what is too wide.
        let needed = self.evaluate("document.documentElement.scrollWidth");
        assert!(
            needed
                .as_u64()
                .is_some_and(|needed| needed <= u64::from(width)),
            "{width} pixels are there, {needed} needed"
        );
    }
}
