//! The devices of the story, and where they are.
//!
//! Owns the props. Must not know who takes them, nor the plot.

use super::cast;
use super::script::Post;

const FIREFOX_MAC: &str =
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0";
const SAFARI_IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1";
const CHROME_WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36";
const CHROME_ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36";
const SCRIPT: &str = "python-requests/2.32.4";
const HEADLESS: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/138.0.0.0 Safari/537.36";

/// The office of the cast.
pub(super) const OFFICE: Post = Post {
    address: "192.0.2.10",
    device: "Firefox on a Mac",
    user_agent: FIREFOX_MAC,
    city: "Utrecht",
    country: "NL",
    latitude: 52.09,
    longitude: 5.12,
};
/// Another desk in the office.
pub(super) const DESK: Post = Post { device: "Chrome on Windows", user_agent: CHROME_WINDOWS, ..OFFICE };
/// The shared terminal in the shop.
pub(super) const TERMINAL: Post = Post {
    address: "192.0.2.40",
    device: "Shared terminal",
    user_agent: CHROME_WINDOWS,
    city: "Haarlem",
    latitude: 52.38,
    longitude: 4.64,
    ..OFFICE
};
/// Alice's laptop at her home.
pub(super) const HOME: Post =
    Post { address: "2001:db8:4a11::5", city: "Amersfoort", latitude: 52.16, longitude: 5.39, ..OFFICE };
/// Alice's phone.
pub(super) const PHONE: Post =
    Post { address: "2001:db8:77::1c2", device: "iPhone", user_agent: SAFARI_IPHONE, ..HOME };
/// Somebody else's phone.
pub(super) const ANDROID: Post =
    Post { address: "2001:db8:77::2b9", device: "Android phone", user_agent: CHROME_ANDROID, ..OFFICE };
/// Alice's laptop in a hotel.
pub(super) const HOTEL: Post = Post {
    address: "203.0.113.140",
    city: "Lisbon",
    country: "PT",
    latitude: 38.72,
    longitude: -9.14,
    ..OFFICE
};
/// Where the passwords are tried from. `ZZ` is the code for an unknown country.
pub(super) const BRUTE_FORCE: Post = Post {
    address: cast::BRUTE_FORCE_ADDRESS,
    device: "Script",
    user_agent: SCRIPT,
    city: "Unknown",
    country: "ZZ",
    latitude: -41.29,
    longitude: 174.78,
};
/// Where the prompts to Alice's phone come from.
pub(super) const FATIGUE: Post =
    Post { address: cast::FATIGUE_ADDRESS, device: "Headless browser", user_agent: HEADLESS, ..BRUTE_FORCE };
/// Where one password is tried on many accounts.
pub(super) const SPRAYING: Post = Post { address: cast::SPRAYING_ADDRESS, user_agent: SCRIPT, ..BRUTE_FORCE };
