"""The page on which a person uploads images, over HTTP and, with a server over stdio, on this machine."""
