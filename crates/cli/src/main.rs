mod template;
fn main() {}
