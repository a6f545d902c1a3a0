"""Made from `app/client/_async/` by `make client`: change it there."""
