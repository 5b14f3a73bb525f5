//! zoo.cfg and the dynamic file: text to typed configuration and back.
