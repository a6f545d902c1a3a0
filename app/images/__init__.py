"""Photos: upload, gallery, content, thumbnails."""
